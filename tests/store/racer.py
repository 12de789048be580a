"""One builder of a race: it renews its user some times, is killed at random writes, and builds to the end at last."""

from __future__ import annotations

import random
import sys

from support.killing import command

WRITES = 220
"""About how many writes a build has."""
WAIT = "900"


def main(rounds: str, name: str) -> int:
    """Return the exit status of the last build."""
    drawn = random.Random(name)  # noqa: S311
    build = ("support.builder", "build", "--lock-timeout", WAIT)
    for _ in range(int(rounds)):
        command(*build, "--renew", f"user.{name}", kill_at=drawn.randrange(1, WRITES))
    ended = command(*build)
    if ended.status == 0:
        ended = command(*build, "--renew", f"user.{name}")
    sys.stderr.write(ended.output)
    return ended.status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
