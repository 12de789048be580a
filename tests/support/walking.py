"""Walk through pages of the documentation from top to bottom as a reader would: write files, run commands.

- A block with a title, ````toml title="pgtls.toml"``, is the file of that name; under ``diff`` it is an edit of it, and
  each passage without ``+`` must occur there exactly once.
- A ``toml`` block without a title is a part of ``pgtls.toml``: its tables are added, its fields replace those of the
  same name.
- A ``console`` block holds commands after ``$``, which continue after a backslash at the end of a line, and what each
  prints. A line ``...`` matches any lines, and a run of eight or more hex digits matches any other. A command that
  fails prints ``error`` or has ``echo $?`` after it.
- A spec that no command follows must be without findings.

Readers do not see comments: ``<!-- now 2027-03-01 -->`` sets the clock; ``<!--`` and ``-->`` on lines of their own hide
blocks that prepare what a reader already has; ``<!-- tested by: FILE -->`` and ``<!-- not run: REASON -->`` exempt the
block that follows.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from support.servers import PATIENCE
from support.system import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

NOW = "2027-01-01"
"""What time it is on every page, until it says otherwise."""

_FENCE = re.compile(r"```(\w*)(?: title=\"([^\"]+)\")?")
_NOW = re.compile(r"<!-- now (\S+) -->")
_EXEMPT = re.compile(r"<!-- (tested by|not run): (.+) -->")


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code, and what the page says about it."""

    start: int
    """The line of the page on which its text begins, from 0."""
    language: str
    title: str
    lines: list[str]
    now: str
    exempt: tuple[str, str] | None
    """How it is exempt, and the file or the reason."""

    @property
    def text(self) -> str:
        """Its text, as a file."""
        return "".join(f"{line}\n" for line in self.lines)

    @property
    def file(self) -> str:
        """The name of the file that it writes or edits, or nothing."""
        return self.title or ("pgtls.toml" if self.language == "toml" else "")


def blocks(page: str) -> Iterator[Block]:
    """Return every block of a page."""
    now, exempt = NOW, None
    lines = iter(enumerate(page.splitlines()))
    for number, line in lines:
        if match := _NOW.fullmatch(line):
            now = match[1]
        elif match := _EXEMPT.fullmatch(line):
            exempt = (match[1], match[2])
        elif match := _FENCE.fullmatch(line):
            text = []
            for _, inner in lines:
                if inner == "```":
                    break
                text.append(inner)
            yield Block(number + 1, match[1], match[2] or "", text, now, exempt)
            exempt = None
        else:
            assert not line.lstrip().startswith("```"), f"line {number + 1}: a block that is not looked at: {line}"
            assert not exempt, f"line {number}: no block follows that could be exempt"


def shown(page: Path, language: str) -> list[str]:
    """Return the blocks of a page in a language, for a test that follows them itself."""
    return [block.text for block in blocks(page.read_text(encoding="utf-8")) if block.language == language]


def walked(page: str, directory: Path, surroundings: Mapping[str, str] | None = None) -> str:
    """Walk through a page in a directory, and give it with what was printed where it shows something else.

    ``surroundings`` are variables that readers of this page have set.
    """
    reader = Reader(directory, surroundings or {})
    lines = page.splitlines()
    seen: list[str] = []
    at = 0
    todo = [block for block in blocks(page) if not block.exempt]
    for block, following in pairwise([*todo, None]):
        assert block
        seen += lines[at : block.start]
        at = block.start + len(block.lines)
        if block.language == "console":
            seen += reader.run(block)
            continue
        assert block.file, f"line {block.start}: neither run, nor a file, nor exempt"
        reader.write(block)
        if block.file.endswith("pgtls.toml") and not (following and following.language == "console"):
            reader.check(block)
        seen += block.lines
    return "\n".join(seen + lines[at:]) + "\n"


@dataclass(frozen=True, slots=True)
class Command:
    """A command of a console block."""

    lines: list[str]
    """As they stand in the page."""
    shown: list[str]
    """What it prints, if the page is right."""

    @property
    def words(self) -> str:
        """What a shell is given."""
        return "\n".join(self.lines).removeprefix("$ ")


def commands(lines: list[str]) -> list[Command]:
    """Take a console block apart."""
    assert lines[0].startswith("$ "), f"a console block begins with a command, not with {lines[0]!r}"
    found: list[Command] = []
    for line in lines:
        if line.startswith("$ "):
            found.append(Command([line], []))
        elif not found[-1].shown and found[-1].lines[-1].endswith("\\"):
            found[-1].lines.append(line)
        else:
            found[-1].shown.append(line)
    return found


class Reader:
    """A reader at a terminal who follows a page."""

    def __init__(self, directory: Path, surroundings: Mapping[str, str]) -> None:
        """Begin in a directory, with an empty home beside it."""
        self.directory, self.surroundings = directory, surroundings
        self.home = directory.with_name("home")
        self.home.mkdir()

    def write(self, block: Block) -> None:
        """Write or edit the file of a block."""
        path = self.directory / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        if block.language == "diff":
            path.write_text(edited(path.read_text(), block.lines))
        elif block.title or not path.exists():
            path.write_text(block.text)
        else:
            path.write_text(joined(path.read_text(), block.text))

    def check(self, block: Block) -> None:
        """See to it that the spec which a block has written is a good one."""
        ((printed, status),) = self._outcomes([f"pgtls check {block.file} --warnings-as-errors"], block.now)
        assert not status, "\n".join([f"line {block.start}: this spec has findings", *printed])

    def run(self, block: Block) -> list[str]:
        """Run the commands of a block, and give its lines with what they printed where it shows something else."""
        asked = commands(block.lines)
        seen: list[str] = []
        outcomes = self._outcomes([command.words for command in asked], block.now)
        for (command, following), (printed, status) in zip(pairwise([*asked, None]), outcomes, strict=True):
            assert command
            seen += command.lines + (command.shown if agrees(command.shown, printed) else printed)
            told = any("error" in line for line in printed) or (following and following.words == "echo $?")
            assert told or not status, "\n".join(
                [f"line {block.start}: $ {command.words}", *printed, f"exits {status}"]
            )
        return seen

    def _outcomes(self, words: list[str], now: str) -> list[tuple[list[str], int]]:
        """Run commands in one shell. Return the output of each, on both streams, and its exit status.

        The next shell continues where this one ends.
        """
        ends = "; status=$?; printf '\\n\\036%s %s\\n' $status \"$PWD\"; (exit $status)\n"
        done = subprocess.run(
            ["bash", "-c", "".join(f"{{ {command}\n}}{ends}" for command in words)],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.directory,
            env={**ENVIRONMENT, **_SURROUNDINGS, **self.surroundings, "HOME": str(self.home), "PGTLS_NOW": now},
            timeout=10 * PATIENCE,
        )
        *texts, rest = re.split(r"\n\x1e(\d+) (.+)\n", done.stdout)
        assert (len(texts), rest) == (3 * len(words), ""), done.stdout
        self.directory = Path(texts[-1])
        return [
            (_SET_CLOCK.sub("", printed).splitlines(), int(status))
            for printed, status in zip(texts[::3], texts[1::3], strict=True)
        ]


_SURROUNDINGS = {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{ENVIRONMENT['PATH']}",
    "PYTHONPATH": str(Path(__file__).parents[1]),  # for blocks that nobody sees, which run support.company
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@example.com",
    "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@example.com",
}
_SET_CLOCK = re.compile(r"^pgtls: the clock is set to .*\n", re.MULTILINE)
"""What a reader, whose clock is right, does not see."""


def agrees(shown: Sequence[str], printed: Sequence[str]) -> bool:
    """Return whether what was printed is what is shown. Empty lines at the end set commands apart."""

    def normal(lines: Sequence[str]) -> list[str]:
        text = "\n".join(line.rstrip() for line in lines).rstrip("\n")
        return re.sub(r"\b[0-9a-fA-F]{8,}\b", "#", text).splitlines()

    pattern = "".join(r"(?:.*\n)*?" if line == "..." else re.escape(line) + r"\n" for line in normal(shown))
    return bool(re.fullmatch(pattern, "".join(f"{line}\n" for line in normal(printed))))


def edited(text: str, change: Sequence[str]) -> str:
    """Carry out a diff without line numbers: its hunks, which ``@@`` sets apart."""
    for hunk in "\n".join(change).split("\n@@\n"):
        lines = hunk.split("\n")
        old = "".join(f"{line[1:]}\n" for line in lines if line[:1] != "+")
        new = "".join(f"{line[1:]}\n" for line in lines if line[:1] != "-")
        assert text.count(old) == 1, f"this stands {text.count(old)} times in the file:\n{old}"
        text = text.replace(old, new)
    return text


def joined(spec: str, part: str) -> str:
    """Put the tables of ``part`` into ``spec``."""
    assert part.startswith("["), "what is a part of a spec begins with a table"
    tables = _tables(spec)
    for header, (first, *fields) in _tables(part).items():
        own = tables.get(header, [first])
        names = {_name(field) for field in fields}
        tables[header] = [line for line in own if _name(line) not in names] + fields
    return "\n\n".join("\n".join(lines) for lines in tables.values()) + "\n"


def _tables(text: str) -> dict[str, list[str]]:
    """Return the lines of each table under its header."""
    chunks = [chunk.strip() for chunk in re.split(r"^(?=\[)", text, flags=re.MULTILINE)]
    return {chunk.partition("]")[0]: chunk.splitlines() for chunk in chunks if chunk}


def _name(line: str) -> str:
    return line.partition("=")[0].strip()
