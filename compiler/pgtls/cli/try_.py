"""``pgtls try``."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pgtls.cli.completion import names
from pgtls.cli.options import FORMAT, expanded
from pgtls.cli.printing import coloured, reporting, say, show
from pgtls.cli.table import Row, columns, table
from pgtls.diagnostics.lines import whole, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pgtls.live.trial import Row as Tried
    from pgtls.live.trial import Trial

EXAMPLES = {
    "pgtls try": "Try every bundle, and everything that must be refused.",
    "pgtls try --keep": "Leave the server running, to try the psql lines by hand.",
}

_COLOURS = {"admitted": "32", "refused": "36", "not tried": "33"}
_DIFFERS = "31"
_WIDEST = len("not tried")


@expanded
def command(
    spec: Annotated[str, typer.Argument(metavar="SPEC", envvar="PGTLS_SPEC", help="The spec.")] = "pgtls.toml",
    lock: Annotated[
        str | None,
        typer.Option(
            metavar="PATH", envvar="PGTLS_LOCK", show_default="SPEC with .lock for .toml", help="The lock file."
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            show_default="all",
            help="Try this server only.",
            autocompletion=names("{name}", "server"),
        ),
    ] = None,
    bindir: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            show_default="the nearest version on this machine",
            help="The directory of the PostgreSQL programs to try with: initdb, postgres, psql.",
        ),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave each server running until Ctrl-C, to try the psql lines by hand.")
    ] = False,
    format_: Annotated[Literal["text", "json"], FORMAT] = "text",
) -> int:
    """Try a spec on a throwaway PostgreSQL: every bundle connects, and all that the policies refuse is refused.

    The files are compiled into a private directory with throwaway keys and passwords: your out directory, keys and
    passphrases are not touched. Nothing is left behind. Exit status 1 if anything differs from the spec.
    """
    with reporting("try", format_) as report:
        trials: list[Trial] = []
        report.result = lambda: _as_dict(trials)
        trials += _trials(spec, lock, server, bindir, keep=keep, quiet=format_ == "json")
        from pgtls.live.trial import differences

        by_hand = f"to run a psql line by hand: {_again(spec, lock, server, bindir)}"
        report.diagnostics = differences(trials)
        report.status = 1 if report.diagnostics else 0
        report.text = lambda: "\n".join([*_summary(trials)] if keep else [*_tables(trials), *_summary(trials), by_hand])
    return report.status


def _again(spec: str, lock: str | None, server: str | None, bindir: str | None) -> str:
    """Return the command that leaves the servers of this trial running."""
    options = (("--lock", lock), ("--server", server), ("--bindir", bindir))
    said = [word for option, value in options if value for word in (option, value)]
    return shlex.join(["pgtls", "try", *([] if spec == "pgtls.toml" else [spec]), *said, "--keep"])


def _trials(
    spec: str, lock: str | None, server: str | None, bindir: str | None, *, keep: bool, quiet: bool
) -> Iterator[Trial]:
    from pgtls import api
    from pgtls.cli.progress import bars
    from pgtls.live.throwaway import private_directory
    from pgtls.live.trial import tried

    opened = api.load(spec, lock=lock or None)  # not at an instant of --now: a server looks at the machine's clock
    opened.usable()
    with private_directory() as directory, bars() as progress:

        def wait(trial: Trial) -> None:
            if not quiet:
                show("\n".join(_tables([trial])))
            _wait(f"server {trial.server} runs: cd {directory} to run the psql lines; Ctrl-C ends it")

        yield from tried(opened, directory, server, bindir, wait if keep else None, progress)


def _wait(message: str) -> None:
    """Wait for Ctrl-C or SIGTERM."""
    import time

    try:
        say(message)
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        return


def _as_dict(trials: Sequence[Trial]) -> dict[str, Any]:
    return {
        "servers": [
            {
                "server": trial.server,
                "postgres": trial.wanted,
                "tried_on": {"version": trial.installation.release, "bindir": str(trial.installation.bin)},
                "rows": [_as_row(row) for row in trial.rows],
            }
            for trial in trials
        ],
        "summary": _counts(trials),
    }


def _as_row(row: Tried) -> dict[str, Any]:
    attempt = row.attempt
    return {
        "user": attempt.user,
        "role": attempt.role,
        "database": attempt.database,
        "from": str(attempt.source),
        "attempt": attempt.what,
        "expected": attempt.expected,
        "outcome": row.outcome,
        "agrees": row.agrees,
        "method": attempt.method,
        "policies": attempt.policies,
        "reason": row.text,
        "psql": row.psql,
    }


def _counts(trials: Sequence[Trial]) -> dict[str, int]:
    rows = [row for trial in trials for row in trial.rows]
    found = Counter(row.outcome for row in rows if row.agrees)
    return {
        "admitted": found["admitted"],
        "refused": found["refused"],
        "not_tried": found["not tried"],
        "different": sum(not row.agrees for row in rows),
    }


def _tables(trials: Sequence[Trial]) -> Iterator[str]:
    width, colour = columns(sys.stdout), coloured(sys.stdout)
    for trial in trials:
        yield from wrapped(_title(trial), width, "  ")
        yield ""
        yield from table((_row(row, colour=colour) for row in trial.rows), width)
        yield ""


def _title(trial: Trial) -> str:
    one = trial.installation
    title = f"server {trial.server}: PostgreSQL {one.release} from {one.bin}"
    if one.major == trial.wanted:
        return title
    return (
        f"{title}; the spec says {trial.wanted}: this is the nearest here, and the files are compiled for {one.major}"
    )


def _row(row: Tried, *, colour: bool) -> Row:
    attempt = row.attempt
    who = attempt.role if attempt.user in (None, attempt.role) else f"{attempt.user} as {attempt.role}"
    outcome = row.outcome if row.agrees else f"DIFFERS: {row.outcome}"
    style = (_COLOURS[row.outcome] if row.agrees else _DIFFERS) if colour else ""
    cells = (whole(f"{outcome:{_WIDEST}}"), who, attempt.database, str(attempt.source), attempt.what, _short(row.text))
    return Row(cells, style, whole(row.psql))


def _short(reason: str) -> str:
    """Keep what a server says of its reason, without who came from where."""
    return reason.partition(";")[0].partition(" for host ")[0].partition(" for user ")[0]


def _summary(trials: Sequence[Trial]) -> Iterator[str]:
    found = _counts(trials)
    said = f"{found['admitted']} connections admitted, {found['refused']} refused, as the policies say"
    said += f"; {found['not_tried']} not tried" if found["not_tried"] else ""
    said += f"; {found['different']} otherwise than the policies say" if found["different"] else ""
    yield said
