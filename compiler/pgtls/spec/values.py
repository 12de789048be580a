"""The values of the language that TOML itself does not have: durations, instants, names, secrets, waivers."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1), "y": timedelta(days=365)}
_DURATION = re.compile(r"([1-9][0-9]{0,5})([hdwy])")

TABLE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
"""What a table may be called: its name becomes a directory."""

DEVICE_NAMES = frozenset({"con", "prn", "aux", "nul", *(f"{d}{n}" for d in ("com", "lpt") for n in range(1, 10))})
"""Names that Windows reserves, with any extension."""


class Table(BaseModel):
    """A table of the language: unknown keys are errors, values are strict, and nothing changes after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _duration(value: Any) -> timedelta:
    if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        return int(match[1]) * _UNITS[match[2]]
    raise PydanticCustomError("duration", 'a duration is a whole number and a unit: "12h", "90d", "52w" or "10y"')


def _instant(value: Any) -> datetime:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise PydanticCustomError("instant", "a date-time needs an offset, e.g. 2027-06-30T12:00:00Z")
        return value.astimezone(UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    raise PydanticCustomError("instant", "an instant is a TOML date or date-time without quotes, e.g. 2027-06-30")


def _items(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


T = TypeVar("T")

Tuple = Annotated[tuple[T, ...], BeforeValidator(_items)]
"""A TOML array, frozen."""

Duration = Annotated[
    timedelta,
    PlainValidator(_duration),
    WithJsonSchema({"type": "string", "pattern": r"^[1-9][0-9]{0,5}[hdwy]$", "examples": ["90d", "12h", "52w", "10y"]}),
]
"""A length of time; a year is 365 days."""

Instant = Annotated[
    datetime,
    PlainValidator(_instant),
    WithJsonSchema(
        {"type": "string", "format": "date-time", "description": "a TOML date (00:00 UTC) or offset date-time"}
    ),
]
"""A point in time, in UTC."""

Text = Annotated[str, StringConstraints(min_length=1)]
"""A string that may not be empty. (Control characters are refused in every string when the file is loaded.)"""


class Literally(Table):
    """A name that is itself a keyword of the language, e.g. ``{ name = "all" }``."""

    name: Text = Field(description="The name, taken as it is.")


class Secret(Table):
    """Where a secret comes from; it is read only when it is needed. Exactly one of the three."""

    env: Text | None = Field(None, description="The environment variable that holds it.")
    file: Text | None = Field(None, description="The file that holds it; one trailing line end is not part of it.")
    command: Tuple[Text] | None = Field(None, description="The program, with its arguments, that prints it.")


class Waiver(Table):
    """Why lint findings on a policy are accepted."""

    reason: Text = Field(description="The reason, shown in every report.")
    codes: Tuple[str] = Field((), description="The codes that it accepts; none means all that can be waived.")
    until: Instant | None = Field(None, description="Afterwards the waiver does not exist.")


class Subject(Table):
    """What a certificate's subject says beside its common name (RFC 5280, 4.1.2.6)."""

    country: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")] | None = Field(
        None, description="Two capital letters (ISO 3166).", examples=["GR"]
    )
    state: Annotated[str, StringConstraints(min_length=1, max_length=128)] | None = Field(
        None, description="State or province."
    )
    locality: Annotated[str, StringConstraints(min_length=1, max_length=128)] | None = Field(None, description="City.")
    organization: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = Field(
        None, description="Organization."
    )
    organizational_unit: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = Field(
        None, description="Department."
    )
    email: Annotated[str, StringConstraints(min_length=1, max_length=255)] | None = Field(
        None, description="E-mail address."
    )


class NameConstraints(Table):
    """The names that certificates under a CA may hold (RFC 5280, 4.2.1.10)."""

    permitted_dns: Tuple[Text] = Field((), description="Domains; `example.com` covers itself and everything below it.")
    permitted_ip: Tuple[Text] = Field((), description="Networks.")
    excluded_dns: Tuple[Text] = Field((), description="Domains that may not appear.")
    excluded_ip: Tuple[Text] = Field((), description="Networks that may not appear.")
