"""Read a pg_hba.conf and a pg_ident.conf that others wrote, and show their faults without their secrets."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pgtls.diagnostics import Diagnostic, Place, Rejected
from pgtls.hba.parse import parse_hba, parse_ident
from pgtls.hba.secrets import blotted, is_record, veiled, without_quotations
from pgtls.importer.files import Reader
from pgtls.postgres.methods import CLIENTCERT_NUMBERS_UNTIL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pgtls.access.question import Answer, Question
    from pgtls.hba.model import IdentLine, Line
    from pgtls.hba.parse import HbaError, ParsedHba, ParsedIdent


@dataclass(frozen=True, slots=True)
class Foreign:
    """The lines of both files. ``texts`` has the text of every file, with its secrets blotted out."""

    lines: tuple[Line, ...]
    idents: tuple[IdentLine, ...]
    texts: dict[str, str] = field(default_factory=dict)


def read_foreign(hba: str, ident: str | None, version: int) -> Foreign:
    """Read both files with their includes, as a server of that version does.

    Raises OSError, and Rejected with PGT290.
    """
    texts: dict[str, str] = {}
    reader = Reader("PGT290")

    def read(path: str, *, pipes: bool = False) -> str:
        text = reader.text(path, pipes=pipes)
        if path not in texts:
            texts[path] = blotted(text)
        return text

    rules = parse_hba(read(hba, pipes=True), version, hba, read, os.listdir)
    maps = parse_ident(read(ident, pipes=True), version, ident, read, os.listdir) if ident else None
    faults = [_fault(fault, rules, texts, version, fault.file == hba) for fault in rules.errors]
    faults += [_fault(fault, maps, texts, version, fault.file == ident) for fault in maps.errors] if maps else []
    if faults:
        raise Rejected(*faults)
    return Foreign(rules.lines, maps.lines if maps else (), texts)


def ask(hba: str, ident: str | None, version: int, question: Question) -> Answer:
    """Ask the files of a server of that version about one connection. Raise OSError, and Rejected with PGT290."""
    from pgtls.access.question import of_file

    foreign = read_foreign(hba, ident, version)
    return of_file(foreign.lines, foreign.idents, foreign.texts, version, question)


def line_place(texts: Mapping[str, str], file: str | None, number: int | None) -> Place | None:
    """Return the place of a whole line."""
    text = line_text(texts, file, number)
    if file is None or number is None or text is None:
        return None
    return Place(file, number, 1, number, max(len(text.rstrip()), 1) + 1, text)


def line_text(texts: Mapping[str, str], file: str | None, number: int | None) -> str | None:
    """Return a line as an excerpt may show it."""
    lines = texts.get(file or "", "").split("\n")
    return lines[number - 1].rstrip("\r") if number and number <= len(lines) else None


def _fault(
    fault: HbaError, parsed: ParsedHba | ParsedIdent, texts: dict[str, str], version: int, is_named: bool
) -> Diagnostic:
    """Report a line that the server refuses. ``is_named``: the user named its file, so that it is what it should be."""
    place, text, message = None, line_text(texts, fault.file, fault.line) or "", fault.message
    if not is_named and not is_record(line_text(texts, fault.file, fault.record) or ""):
        text, message = veiled(text), without_quotations(message)
    elif fault.quoted:  # a list, in which each word is a name
        message = without_quotations(message)
    if fault.line and fault.column and fault.file in texts:
        place = Place(fault.file, fault.line, fault.column, fault.line, fault.column + 1, text)
    hint = "; ".join(filter(None, (parsed.consequence, *_remedies(fault, version))))
    return Diagnostic("PGT290", message, hint=hint or None, place=place, file=fault.file)


def _remedies(fault: HbaError, version: int) -> Iterable[str]:
    """Yield what helps where a later version refuses what an earlier one took."""
    if version > CLIENTCERT_NUMBERS_UNTIL and fault.message.startswith("invalid value for clientcert:"):
        yield (
            f"up to PostgreSQL {CLIENTCERT_NUMBERS_UNTIL}, clientcert=1 means verify-ca: write clientcert=verify-ca "
            f"(with cert: delete it), or use --postgres {CLIENTCERT_NUMBERS_UNTIL} and raise postgres in the spec later"
        )
