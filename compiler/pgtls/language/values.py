"""The values of the language that TOML itself does not have: durations, instants, names, secrets, waivers."""

from __future__ import annotations

import json
import posixpath
import re
from datetime import UTC, date, datetime, timedelta
from itertools import dropwhile
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    PrivateAttr,
    StringConstraints,
    Tag,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from pgtls.pki.pkcs11_uri import BadUri, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1), "y": timedelta(days=365)}
_DURATION = re.compile(r"(0|[1-9][0-9]*)([hdwy])")
_LIKE_A_DURATION = re.compile(
    r"\s*([1-9][0-9]*)\s*(?:(h)(?:ours?)?|(d)(?:ays?)?|(w)(?:eeks?)?|(y)(?:ears?)?)\s*", re.IGNORECASE
)
_MONTHS = re.compile(r"\s*([1-9][0-9]{0,3})\s*(?:months?|mon)\s*", re.IGNORECASE)
_DIGITS = 6
"""The digits of the longest duration in the smallest unit."""
_DATE = re.compile(r"\d{4}-\d\d-\d\d([Tt ][\d:.]+([Zz]|[+-]\d\d:\d\d)?)?")
_AN_INSTANT = "a date, or a date and time with an offset"
LONGEST = 100 * _UNITS["y"]
"""The longest duration: a date that far ahead can still be written into a certificate (RFC 5280, 4.1.2.5)."""

TABLE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
"""The allowed names of tables: each becomes the name of a directory."""

DEVICE_NAMES = frozenset({"con", "prn", "aux", "nul", *(f"{d}{n}" for d in ("com", "lpt") for n in range(1, 10))})
"""Names that Windows reserves, with any extension."""


def wrong(kind: Literal["type", "value"], expected: str, hint: str = "") -> PydanticCustomError:
    """Return the error of a validator: what it requires. :mod:`pgtls.language.shape` makes a message of it."""
    return PydanticCustomError(f"wrong_{kind}", "{expected}", {"expected": expected, "hint": hint})


class Table(BaseModel):
    """A table of the language: unknown keys are errors, values are strict, and nothing changes after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _duration(value: Any) -> timedelta:
    units = 'h, d, w and y are the units: "12h", "90d", "52w", "10y"'
    if not isinstance(value, str):
        days = f'write "{value}d" for days' if type(value) is int and value > 0 else units
        raise wrong("type", 'a duration such as "90d"', days)
    if not (match := _DURATION.fullmatch(value)):
        raise wrong("value", "a whole number and a unit", _nearest_duration(value) or units)
    number, unit = match.groups()
    if number == "0":
        raise wrong("value", "longer than nothing", 'e.g. "90d"')
    if len(number) > _DIGITS or (length := int(number) * _UNITS[unit]) > LONGEST:
        raise wrong("value", "at most 100 years", 'e.g. "10y"')
    return length


def _nearest_duration(text: str) -> str | None:
    if months := _MONTHS.fullmatch(text):
        return f'write days: "{30 * int(months[1])}d"'
    meant = _LIKE_A_DURATION.fullmatch(text)
    return f'write "{meant[1]}{meant[meant.lastindex or 0].lower()}"' if meant else None


def duration_text(length: timedelta) -> str:
    """Write a duration in the largest unit that divides it: the inverse of reading it."""
    return next(f"{length // unit}{letter}" for letter, unit in reversed(_UNITS.items()) if not length % unit)


def _instant(value: Any) -> datetime:
    try:
        if isinstance(value, datetime):
            if value.tzinfo is None:
                raise wrong("value", _AN_INSTANT, "say the offset: 2027-06-30T12:00:00Z")
            return value.astimezone(UTC)
    except OverflowError:
        raise wrong("value", "in the years 1 to 9999 (UTC)") from None
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    hint = f"write it without quotes: {value}" if _is_instant(value) else "write year, month and day: 2027-06-30"
    raise wrong("type", _AN_INSTANT, hint)


def _is_instant(value: Any) -> bool:
    """Tell whether a string holds an instant as TOML writes it, of a day that the calendar has."""
    try:
        return isinstance(value, str) and bool(_DATE.fullmatch(value) and datetime.fromisoformat(value))
    except ValueError:
        return False


def _items(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


T = TypeVar("T")

Tuple = Annotated[tuple[T, ...], BeforeValidator(_items)]
"""A TOML array, frozen."""

Several = Annotated[tuple[T, ...], Field(min_length=1), BeforeValidator(_items)]
"""An array that is not empty."""

MOST_ITEMS = 10_000

Bounded = Annotated[tuple[T, ...], Field(min_length=1, max_length=MOST_ITEMS), BeforeValidator(_items)]
"""An array with a maximum length, for items that each become a line of pg_hba.conf or a name in a certificate."""

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
        {
            "type": "string",
            "anyOf": [{"format": "date"}, {"format": "date-time"}],
            "pattern": r"^\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:\d\d))?$",
            "description": "A TOML date (00:00 UTC), or a date and time with an offset.",
            "examples": ["2027-06-30", "2027-06-30T12:00:00Z"],
        }
    ),
]
"""A point in time, in UTC."""

Text = Annotated[str, StringConstraints(min_length=1)]
"""A string that is not empty. (The loader rejects control characters in every string.)"""


def _matching(pattern: str, expected: str, hint: str = "") -> Callable[[str], str]:
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise wrong("value", expected, hint)
        return value

    return check


SerialNumber = Annotated[
    str,
    AfterValidator(_matching("[0-9a-fA-F:]{1,60}", "a serial number in hexadecimal")),
    WithJsonSchema({"type": "string", "pattern": "^[0-9a-fA-F:]{1,60}$"}),
]
"""A certificate's serial number in hexadecimal, with or without colons."""


def _openssl(value: Any) -> str:
    hint = 'e.g. openssl = "3.5"; "openssl version" prints it'
    if not isinstance(value, str):
        hint = f'write it in quotes: "{value}"' if isinstance(value, float) else hint
        raise wrong("type", 'an OpenSSL release such as "3.5"', hint)
    if not _OPENSSL.fullmatch(value):
        longer = _LIKE_OPENSSL.search(value)
        raise wrong("value", 'an OpenSSL release such as "3.5"', f'write "{longer[1]}"' if longer else hint)
    return value


_OPENSSL = re.compile(r"1\.1\.1|[3-9]\.[0-9]{1,2}")
_LIKE_OPENSSL = re.compile(r"\b(1\.1\.1|[3-9]\.[0-9]{1,2})(?![0-9])")

OpenSsl = Annotated[
    str,
    PlainValidator(_openssl),
    WithJsonSchema({"type": "string", "pattern": f"^({_OPENSSL.pattern})$"}),
]
"""An OpenSSL release, as far as it decides what OpenSSL can do: 1.1.1, or major and minor version."""

Country = Annotated[
    str,
    AfterValidator(_matching("[A-Z]{2}", "two capital letters (ISO 3166)", 'e.g. country = "GR"')),
    WithJsonSchema({"type": "string", "pattern": "^[A-Z]{2}$"}),
]

_MAILBOX = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*@[A-Za-z0-9-]+(\\.[A-Za-z0-9-]+)*"
"""RFC 5321, 4.1.2, without quoted strings and address literals."""

Email = Annotated[
    str,
    AfterValidator(_matching(_MAILBOX, 'an e-mail address in ASCII, e.g. "dba@example.com"')),
    WithJsonSchema({"type": "string", "pattern": f"^{_MAILBOX}$"}),
]
"""An e-mail address, which certificates hold in ASCII (RFC 5280, 4.1.2.6: an IA5String) and as a Mailbox (4.2.1.6)."""

_HTTPS = r"https://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?(/[!$&'()*+,./0-9:;=?A-Z_a-z~%-]*)?"

DirectoryUrl = Annotated[
    str,
    AfterValidator(
        _matching(_HTTPS, 'the https URL of an ACME directory, e.g. "https://ca.example.com/acme/acme/directory"')
    ),
    WithJsonSchema({"type": "string", "pattern": f"^{_HTTPS}$"}),
]
"""The directory of an ACME server (RFC 8555, 6.1: HTTPS only). No user name, which might be a secret."""

_TOML_TYPES = {str: "string", bool: "boolean", int: "integer", float: "float", dict: "table", list: "array"}


def _one_of(expected: str) -> Discriminator:
    """Choose the branch of a union by the TOML type of the value: a wrong value is one error, not one per branch."""
    return Discriminator(
        lambda value: _TOML_TYPES.get(type(value)),
        custom_error_type="wrong_type",
        custom_error_message=expected,
    )


class Literally(Table):
    """A name that is also a keyword, for example ``{ name = "all" }``."""

    name: Text = Field(description="The name, taken as it is.", examples=["all"])


_WORD = re.compile(r"[A-Za-z0-9_@%+./:=-]+")


def _one_word(text: str) -> str:
    """Return a text that nothing around it can be taken for, and that shows no control character."""
    return text if _WORD.fullmatch(text) else json.dumps(text)


def _secret_path(value: str) -> str:
    """Refuse the paths by which links of the machine itself lead to other secrets."""
    parts = [part for part in value.split("/") if part not in ("", ".")]
    below = parts if value.startswith("/") else list(dropwhile("..".__eq__, parts))
    if ".." in below:
        raise wrong("value", 'a path with ".." only at its start', "write the path that the file has without it")
    if below[:1] == ["proc"] and (value.startswith("/") or below != parts):
        raise wrong("value", "a path outside of /proc", "write the path of the file itself")
    return value


class Secret(Table):
    """The source of a secret: exactly one of the three. pgtls reads it only when it needs the secret."""

    # Equal words in two directories are two sources: one that is relative to its directory knows it.
    _directory: str = PrivateAttr("")
    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    env: Text | None = Field(None, description="The environment variable that holds it.", examples=["ROOT_PASSPHRASE"])
    file: Annotated[Text, AfterValidator(_secret_path)] | None = Field(
        None,
        description="The file that holds it; one trailing line end is not part of it.",
        examples=["secrets/root.pass"],
    )
    command: Several[Text] | None = Field(
        None, description="The program, with its arguments, that prints it.", examples=[["sops", "-d", "root.pass"]]
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.env, self.file, self.command).count(None) != 2:
            raise PydanticCustomError("secret_source", "exactly one source")
        return self

    def below(self, directory: str) -> Secret:
        """Return the source as one that a file of the spec in this directory names; "" says nothing of it."""
        is_relative = self.command is not None or (self.file is not None and not self.file.startswith("/"))
        if not is_relative or directory == self._directory:
            return self
        found = self.model_copy()
        found._directory = directory
        return found

    @property
    def path(self) -> str | None:
        """The path of its file, if it is one, from the directory of the spec."""
        return None if self.file is None else posixpath.normpath(posixpath.join(self._directory, self.file))

    @property
    def normalized(self) -> str:
        """The source in words that are the same however its path is spelled."""
        return self.described if self.path is None else f"from file {_one_word(self.path)}"

    @property
    def described(self) -> str:
        """The source in words, without the secret."""
        where = f" in {_one_word(self._directory)}" if self._directory else ""
        words = (
            f"from {kind} {', '.join(map(_one_word, (one,) if isinstance(one, str) else one))}"
            for kind, one in self
            if one is not None
        )
        return f"{next(words)}{where}"


def _key_uri(value: str) -> str:
    try:
        parse(value)
    except BadUri as fault:
        raise wrong("value", "a PKCS#11 URI of a private key (RFC 7512)", str(fault)) from None
    return value


class TokenKey(Table):
    """A private key in a PKCS#11 token: a smart card, a hardware security module, or SoftHSM."""

    pkcs11: Annotated[Text, AfterValidator(_key_uri)] = Field(
        description="The key, as a PKCS#11 URI (RFC 7512): `token` or `serial`, and `object` or `id`.",
        examples=["pkcs11:token=pgtls;object=root"],
    )
    module: Text = Field(
        description="The PKCS#11 library of the token. A build loads it only to sign.",
        examples=["/usr/lib/softhsm/libsofthsm2.so"],
    )
    pin: Secret = Field(description="The source of the user PIN.", examples=[{"env": "TOKEN_PIN"}])


_RECIPIENT = re.compile(r"age1[02-9ac-hj-np-z]{58}|ssh-(?:ed25519|rsa) [A-Za-z0-9+/]+={0,2}(?: [^\n]*)?")


def _recipient(value: str) -> str:
    if not _RECIPIENT.fullmatch(value):
        hint = 'age-keygen prints it after "public key:"; of SSH it is a line of a .pub file, ssh-ed25519 or ssh-rsa'
        if value.upper().startswith("AGE-"):
            hint = "this is a private key: age-keygen -y prints its public key; make a new one if others saw this one"
        elif value.startswith("age1"):
            hint = "an X25519 key has 62 characters; keys of plugins and post-quantum keys are not supported"
        raise wrong("value", "a public key of age or SSH", hint)
    return value


Recipient = Annotated[
    Text,
    AfterValidator(_recipient),
    WithJsonSchema({"type": "string", "pattern": f"^({_RECIPIENT.pattern})$"}),
]


def public_keys(recipients: Sequence[str]) -> frozenset[str]:
    """Return the keys of recipients without the comments of SSH: with another comment, the same person can read."""
    return frozenset(" ".join(one.split()[:2]) for one in recipients)


"""Somebody for whom age encrypts: a public key of age (X25519), or of SSH."""


class Waiver(Table):
    """Why lint findings on a policy are accepted."""

    reason: Text = Field(description="The reason, shown in every report.", examples=["accepted by ... because ..."])
    codes: Tuple[str] = Field(
        (), description="The codes that it accepts; none means all that can be waived.", examples=[["PGT301"]]
    )
    until: Instant | None = Field(None, description="Afterwards the waiver does not exist.")


MOST_PARTS = 16
"""The most values of one part: PostgreSQL 14 and 15 skip a name of more than 10,240 bytes in pg_ident.conf."""

OneOrSeveral = Annotated[
    Annotated[T, Tag("string")]
    | Annotated[tuple[T, ...], Field(min_length=1, max_length=MOST_PARTS), BeforeValidator(_items), Tag("array")],
    _one_of("a string or an array of strings"),
]
"""A string, or an array of them."""

_Short = Annotated[str, StringConstraints(min_length=1, max_length=64)]
_Long = Annotated[str, StringConstraints(min_length=1, max_length=128)]


class Subject(Table):
    """The subject of a certificate without the common name (RFC 5280, 4.1.2.6).

    A certificate holds its parts in the order of this table, the common name before the e-mail address. State,
    locality, organization and unit take an array: each item is a part of its own, in this order.
    """

    country: Country | None = Field(None, description="Two capital letters (ISO 3166).", examples=["GR"])
    state: OneOrSeveral[_Long] | None = Field(None, description="State or province.", examples=["Attica"])
    locality: OneOrSeveral[_Long] | None = Field(None, description="City.", examples=["Athens"])
    organization: OneOrSeveral[_Short] | None = Field(None, description="Organization.", examples=["Example Ltd"])
    organizational_unit: OneOrSeveral[_Short] | None = Field(
        None, description="Department; several as an array.", examples=["Databases", ["Databases", "Team A"]]
    )
    email: Email | None = Field(None, description="E-mail address.", examples=["dba@example.com"])


class NameConstraints(Table):
    """The host names and addresses that certificates under a CA may hold (RFC 5280, 4.2.1.10)."""

    permitted_dns: Tuple[Text] = Field(
        (), description="Domains; `example.com` covers itself and everything below it.", examples=[["example.com"]]
    )
    permitted_ip: Tuple[Text] = Field((), description="Networks.", examples=[["10.0.0.0/8"]])
    excluded_dns: Tuple[Text] = Field((), description="Domains that may not appear.", examples=[["test.example.com"]])
    excluded_ip: Tuple[Text] = Field((), description="Networks that may not appear.", examples=[["10.9.0.0/16"]])


NameOf = Annotated[
    Annotated[Text, Tag("string")] | Annotated[Literally, Tag("table")],
    _one_of('a string or { name = "..." }'),
]
"""A name, or ``{ name = "..." }`` for a name that is also a keyword."""


def plain(name: str | Literally) -> str:
    """Return a name as PostgreSQL has it, in whichever form it is written."""
    return name if isinstance(name, str) else name.name


Reason = Annotated[
    Annotated[Text, Tag("string")] | Annotated[Waiver, Tag("table")],
    _one_of("the reason as a string, or a table of reason, codes and until"),
]

Scalar = Annotated[
    Annotated[str, Tag("string")]
    | Annotated[int, Tag("integer")]
    | Annotated[bool, Tag("boolean")]
    | Annotated[float, Tag("float")],
    _one_of("a string, a number or a boolean"),
]
"""The value of a setting."""

OptionValue = Annotated[
    Annotated[Text, Tag("string")]
    | Annotated[int, Tag("integer")]
    | Annotated[bool, Tag("boolean")]
    | Annotated[Secret, Tag("table")],
    _one_of("a string, an integer, a boolean or a secret's source"),
]
"""The value of an authentication option."""
