"""``make bench``: what pgtls takes, beside what it replaces and beside the floor, as a Markdown table.

Figures depend on the machine and its load: read the ratios of programs that ran side by side.
No benchmark fails by the clock.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))  # `python tests/bench` looks in this directory alone

from bench import policies
from bench.measure import Cost, run, side_by_side

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HERE = Path(__file__).parent
PGTLS = str(Path(sys.executable).parent / "pgtls")
LOOP = 100
"""Users of the openssl loop: it grows in proportion, and has no need of all of them."""
RSA_USERS = 24

HEAD = """version = 1

[ca.root]
common_name = "Example Root CA"

[ca.clients]
issuer   = "root"
validity = "5y"

[server.primary]
ca        = "root"
client_ca = ["clients"]
hosts     = ["db.example.com", "10.0.0.5"]
no_local  = true

[defaults.user]
ca            = "clients"
key_algorithm = "{algorithm}"

[policy.app]
users     = ["all"]
databases = ["shop"]
from      = ["10.0.0.0/8"]
auth      = "cert"
"""


class Bench:
    """One run of everything, in its own directory.

    It removes trees only at the end: ext4 is slow after many deletions.
    """

    def __init__(self, directory: Path, rounds: int, users: Sequence[int]) -> None:
        self.directory = directory
        self.rounds = rounds
        self.users = users
        self.builds: dict[int, tuple[Cost, Cost]] = {}

    def spec(self, users: int, algorithm: str = "ecdsa-p256") -> Path:
        """Write a spec of one server, one policy and many users."""
        path = self.directory / f"{algorithm}-{users}.toml"
        path.write_text(HEAD.format(algorithm=algorithm) + "".join(f"\n[user.u{n:05d}]\n" for n in range(users)))
        return path

    def build(self, spec: Path, name: str, *options: str) -> list[str]:
        """Return the command that builds a spec into a tree of that name."""
        out = self.directory / name
        return [PGTLS, "build", str(spec), "--out", str(out), "--lock", f"{out}.lock", *options]

    def with_jobs(self, spec: Path, jobs: int, number: int) -> list[str]:
        """Return the command that builds with that many cores."""
        return self.build(spec, f"jobs-{jobs}-{number}", "--jobs", str(jobs))

    def sizes(self, tree: str) -> list[str]:
        """Return name and size of the files of one user's bundle, as the floor needs them."""
        bundle = self.directory / tree / "clients" / "u00000"
        return [f"{path.name}={path.stat().st_size}" for path in sorted(bundle.iterdir())]

    def full(self, users: int) -> Iterator[str]:
        """Compare a full build with the loop over openssl and with the bare loop over cryptography."""
        spec = self.spec(users)
        run(self.build(spec, "sample"))  # also warms the caches
        sizes, floor = self.sizes("sample"), [sys.executable, str(HERE / "floor.py"), "issue"]
        costs = side_by_side(
            {
                "build": lambda n: self.build(spec, f"full-{n}"),
                "floor": lambda n: [*floor, str(self.directory / f"floor-{n}"), str(users), "ecdsa-p256", *sizes],
            },
            self.rounds,
        )
        loop = run([str(HERE / "openssl_loop.sh"), str(self.directory / "openssl"), str(LOOP)])
        scale = users / LOOP
        costs["openssl"] = Cost(loop.wall * scale, loop.cpu * scale, loop.memory)
        yield from self.table(
            costs["build"],
            {
                f"`pgtls build`, {users:,} users, {len(sizes)} files each": costs["build"],
                "floor: a bare loop over cryptography, as many files and bytes, one `syncfs`": costs["floor"],
                f"a loop over `openssl` (keys and certificates alone; {LOOP} users, times {scale:g})": costs["openssl"],
            },
        )

    def nothing(self, users: int) -> Iterator[str]:
        """Compare a build that has nothing to do with the least that a process can be."""
        spec, tree = self.spec(users), f"tree-{users}"
        first = run(self.build(spec, tree))
        listing = self.directory / f"{tree}.list"
        with listing.open("w") as file:  # not read here: what this process holds counts as its children's peak memory
            subprocess.run(["find", str(self.directory / tree), "-type", "f"], check=True, stdout=file)
        python = [sys.executable, "-c"]
        costs = side_by_side(
            {
                "nothing": lambda _: self.build(spec, tree),
                "pass": lambda _: [*python, "pass"],
                "imports": lambda _: [*python, "import cryptography.x509, pydantic"],
                "floor": lambda _: [sys.executable, str(HERE / "floor.py"), "look", str(spec), str(listing)],
            },
            max(5, 3 * self.rounds),
        )
        self.builds[users] = first, costs["nothing"]
        yield from self.table(
            costs["nothing"],
            {
                f"`pgtls build` with nothing to do, {users:,} users": costs["nothing"],
                "floor: read the spec, one stat a file": costs["floor"],
                "`python -c 'import cryptography.x509, pydantic'`": costs["imports"],
                "`python -c pass`": costs["pass"],
            },
        )

    def changing(self, users: int, servers: int = 20) -> Iterator[str]:
        """Compare commands after one address, then one user, changed with a build that has nothing to do."""
        count = users // 50
        spec, build = self.directory / f"changing-{users}.toml", f"changing-{users}"
        texts = [policies.spec_text(users, count, servers, 1, widened=widened) for widened in (False, True)]
        other = [text.replace("[user.u00001]", '[user.u00001]\nroles = ["u00001", "guest"]', 1) for text in texts]

        def command(number: int, word: str, *, user: bool) -> list[str]:
            """Write the spec of a step: in each round first the address changes, then the user, there or back."""
            there = number % 2 == 0
            spec.write_text((other if there == user else texts)[there])
            return [PGTLS, word, *self.build(spec, build)[2:]]

        spec.write_text(texts[0])
        run(self.build(spec, build))
        nothing = f"`pgtls build` with nothing to do, {users:,} users, {count} policies, {servers} servers"
        commands = {nothing: partial(_same, self.build(spec, build))}
        for what in ("address", "user"):
            for word in ("plan", "status", "build"):
                commands[f"`pgtls {word}`, one {what} changed"] = partial(command, word=word, user=what == "user")
        costs = side_by_side(commands, self.rounds)
        yield from self.table(costs[nothing], costs)

    def rollout(self, users: int = 10_000, count: int = 200, servers: int = 20) -> Iterator[str]:
        """Compare ``plan`` with a plan that does not ask in which order to deploy, after one address changed."""
        spec, build = self.directory / "rollout.toml", "rollout"
        spec.write_text(policies.spec_text(users, count, servers, 1))
        run(self.build(spec, build))
        spec.write_text(policies.spec_text(users, count, servers, 1, widened=True))
        words = ["plan", *self.build(spec, build)[2:]]
        without = f"a plan without the rollout model: {users:,} users, {count} policies, {servers} servers"
        commands = {
            without: partial(_same, [sys.executable, str(HERE / "without_rollout.py"), *words]),
            "`pgtls plan`": partial(_same, [PGTLS, *words]),
        }
        costs = side_by_side(commands, self.rounds)
        yield from self.table(costs[without], costs)

    def growth(self) -> Iterator[str]:
        """Measure how builds grow, in time and in memory."""
        yield "| | time | a user | peak memory | nothing to do | peak memory |"
        yield "|---|--:|--:|--:|--:|--:|"
        for users, (first, nothing) in self.builds.items():
            whole = f"{_time(first.wall)} | {first.wall / users * 1e3:.2f} ms | {_megabytes(first)}"
            yield f"| {users:,} users, first build | {whole} | {_time(nothing.wall)} | {_megabytes(nothing)} |"

    def rsa(self) -> Iterator[str]:
        """Compare one core with all of them where keys are dear."""
        spec = self.spec(RSA_USERS, "rsa-2048")
        costs = side_by_side(
            {str(jobs): partial(self.with_jobs, spec, jobs) for jobs in (1, 2)},
            self.rounds,
        )
        rows = {f"`--jobs {jobs}`, {RSA_USERS} users with RSA-2048": cost for jobs, cost in costs.items()}
        yield from self.table(costs["1"], rows)

    def formats(self, users: int = 1000) -> Iterator[str]:
        """Compare the formats of a key: those with a passphrase derive 600,000 rounds, once for all who share it."""
        (self.directory / "phrase").write_text("correct horse")
        guarded = 'passphrase = { file = "phrase" }\n'
        asked = {
            "PEM": "",
            "PEM and PKCS#8 DER": 'formats = ["pkcs8-der"]\n',
            "PEM, encrypted": guarded,
            "PEM, encrypted, and PKCS#12": f'{guarded}formats = ["pkcs12"]\n',
        }
        plain = self.spec(users).read_text()
        specs = {name: self.directory / f"formats-{number}.toml" for number, name in enumerate(asked)}
        for name, path in specs.items():
            assert "[defaults.user]\n" in plain
            path.write_text(plain.replace("[defaults.user]\n", f"[defaults.user]\n{asked[name]}"))
        commands = {name: partial(self._formats, path) for name, path in specs.items()}
        costs = side_by_side(commands, self.rounds)
        yield from self.table(costs["PEM"], {f"{name}, {users:,} users": cost for name, cost in costs.items()})

    def _formats(self, spec: Path, number: int) -> list[str]:
        return self.build(spec, f"{spec.stem}-{number}")

    def reviewing(self, reach: int, users: int = 10_000, count: int = 200, servers: int = 20) -> Iterator[str]:
        """Compare the proof, ``access`` and ``diff`` with parsing and validating the same spec (``diff``: two).

        Each policy applies to ``reach`` servers.
        """
        old, new = (self.directory / f"policies-{reach}-{name}.toml" for name in ("old", "new"))
        for path, widened in ((old, False), (new, True)):
            path.write_text(policies.spec_text(users, count, servers, reach, widened=widened))
        validate = [sys.executable, policies.__file__]
        commands = {
            f"parse and validate: {users:,} users, {count} policies, {servers} servers, {reach} a policy": [
                *validate,
                str(old),
            ],
            "parse and validate two of them": [*validate, str(old), str(new)],
            "`pgtls check`: that, lint, compile and prove": [PGTLS, "check", str(old)],
            "`pgtls access --format json`": [PGTLS, "access", str(old), "--format", "json"],
            "`pgtls diff`, one network more in one policy": [PGTLS, "diff", str(old), str(new)],
        }
        costs = side_by_side({name: partial(_same, command) for name, command in commands.items()}, self.rounds)
        yield from self.table(next(iter(costs.values())), costs)

    def crowds(self, few: int = 1000, many: int = 4000) -> Iterator[str]:
        """Measure how ``check`` grows with the policies of one server."""
        for noun, text in (("policies", policies.crowded), ("addresses in one policy", policies.spread)):
            commands: dict[str, list[str]] = {}
            for count in (few, many):
                path = self.directory / f"{count}-{noun.split()[0]}.toml"
                path.write_text(text(count))
                commands[f"`pgtls check`, {count:,} {noun}"] = [PGTLS, "check", str(path)]
            costs = side_by_side({name: partial(_same, command) for name, command in commands.items()}, self.rounds)
            yield from self.table(next(iter(costs.values())), costs)
            yield ""

    def overlaps(self, counts: Sequence[int] = (14, 50, 200)) -> Iterator[str]:
        """Compare ``check`` of policies with parsing and validating them.

        The policies share one role and their lists of databases overlap, or each has a group and an expression.
        """
        kinds = (
            ("of one role on overlapping lists", policies.overlapping),
            ("of groups and expressions", policies.grouped),
        )
        for (words, text), count in product(kinds, counts):
            path = self.directory / f"{text.__name__}-{count}.toml"
            path.write_text(text(count))
            commands = {
                f"parse and validate: {count} policies {words}": [
                    sys.executable,
                    policies.__file__,
                    str(path),
                ],
                "`pgtls check`: that, compile and prove": [PGTLS, "check", str(path)],
            }
            costs = side_by_side({name: partial(_same, command) for name, command in commands.items()}, self.rounds)
            yield from self.table(next(iter(costs.values())), costs)
            yield ""

    @staticmethod
    def table(unit: Cost, rows: dict[str, Cost]) -> Iterator[str]:
        """Lay costs out, with what each takes for one of ``unit``."""
        yield from ("| | time | ratio | processor | ratio |", "|---|--:|--:|--:|--:|")
        for name, cost in rows.items():
            time = f"{_time(cost.wall)} | {cost.wall / unit.wall:.2f}"
            processor = f"{_time(cost.cpu)} | {cost.cpu / unit.cpu:.2f}"
            yield f"| {name} | {time} | {processor} |"


def _same(command: list[str], _round: int) -> list[str]:
    return command


def _megabytes(cost: Cost) -> str:
    return f"{cost.memory / 1e6:.0f} MB"


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def machine(directory: Path) -> Iterator[str]:
    """Return the machine and versions of the measurement."""
    openssl = subprocess.run(["openssl", "version"], check=True, capture_output=True, text=True).stdout.split()[1]
    disk = subprocess.run(
        ["df", "--output=fstype", directory], check=True, capture_output=True, text=True
    ).stdout.split()[1]
    yield (
        f"Measured on {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores ({_processor()}), Linux "
        f"{platform.release()}, {disk}; "
        f"Python {platform.python_version()}, cryptography {version('cryptography')}, OpenSSL {openssl}, pgtls "
        f"{version('pgtls')}. "
        f"Load at the start: {os.getloadavg()[0]:.1f}. Medians of what ran in turn, whole processes; a ratio is "
        "to the first line of its table."
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def main() -> None:
    """Measure, and print as it comes."""
    parser = argparse.ArgumentParser(
        prog="bench", description="Measure pgtls beside what it replaces and beside the floor."
    )
    parser.add_argument("--directory", default=tempfile.gettempdir(), help="where to build [%(default)s]")
    parser.add_argument("--rounds", type=int, default=5, help="how often [%(default)s]")
    parser.add_argument("--users", type=int, nargs="+", default=[100, 1000, 10000], help="how many users [%(default)s]")
    asked = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # or each process would compile its modules anew
    directory = Path(tempfile.mkdtemp(prefix="pgtls-bench-", dir=asked.directory))
    bench = Bench(directory, asked.rounds, asked.users)
    try:
        parts = [
            machine(directory),
            bench.full(1000),
            *(bench.nothing(users) for users in asked.users),
            *(bench.changing(users) for users in asked.users if users >= 1000),
            bench.rollout(),
            bench.growth(),
            bench.rsa(),
            bench.formats(),
            bench.reviewing(reach=1),
            bench.reviewing(reach=3),
            bench.crowds(),
            bench.overlaps(),
        ]
        for part in parts:
            for line in part:
                print(line, flush=True)
            print(flush=True)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
