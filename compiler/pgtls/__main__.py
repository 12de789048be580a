"""The program. A build with nothing to do ends here, before any library is imported.

:mod:`pgtls.cli` does all else.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import NoReturn


def main() -> "NoReturn":
    """Run pgtls and exit; the console script's entry point."""
    try:
        write_no_core_file()
        if nothing_to_do(sys.argv[1:], os.environ) and _printed(b"nothing to do\n"):
            os._exit(0)
        from pgtls import cli
    except KeyboardInterrupt:
        os._exit(130)
    cli.main()


def write_no_core_file() -> None:
    """Switch core files off: one in a work tree would hold keys, and git would add it.

    The programs that the spec names inherit the limit: they print passphrases or sign. They may raise it again.
    """
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def nothing_to_do(words: "Sequence[str]", environment: "Mapping[str, str]") -> bool:
    """Return whether the words ask for a plain build that has nothing to do; False where that is not certain."""
    asked = plain_build(words, environment)
    if asked is None:
        return False
    import time

    from pgtls.state.up_to_date import up_to_date

    return up_to_date(*asked, "", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))


def plain_build(words: "Sequence[str]", environment: "Mapping[str, str]") -> tuple[str, str, str] | None:
    """Read ``build [SPEC] [--out DIR] [--lock PATH]`` as the command line does; return spec, out directory and lock.

    Return None for anything else: the command line reads that, and reports what is wrong with it.
    """
    if words[:1] != ["build"] or environment.get("PGTLS_NOW") or environment.get("_PGTLS_COMPLETE"):
        return None
    given: dict[str, str] = {}
    rest = iter(words[1:])
    for word in rest:
        name, equals, value = word.partition("=")
        if name in ("--out", "--lock"):
            following = value if equals else next(rest, None)
            if following is None:
                return None
            given[name] = following
        elif word.startswith("-") or "SPEC" in given:
            return None
        else:
            given["SPEC"] = word
    from pgtls.state.names import lock_path, out_path

    spec = given.get("SPEC", environment.get("PGTLS_SPEC") or "pgtls.toml")
    out = given.get("--out", environment.get("PGTLS_OUT"))
    return spec, out_path(spec, out), lock_path(spec, given.get("--lock", environment.get("PGTLS_LOCK")))


def _printed(text: bytes) -> bool:
    """Print a result. Return False where that fails: the command line then reports it."""
    try:
        return os.write(1, text) == len(text)  # sys.stdout would keep what it could not write
    except OSError:
        return False


if __name__ == "__main__":
    main()
