"""Objects by name: the one place that talks to a store, with obstore.

Credentials come from the environment, as obstore reads it. No message repeats a URL that a library reports: it may hold
a token.
"""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from pgtls.diagnostics import Diagnostic, Rejected, installing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

SCHEMES = ("s3", "gs", "az", "abfs", "abfss", "file")
PROBE = "probe"
_AT_ONCE = 16
_PANIC = "PanicException"
"""The class of a fault in obstore itself, which it derives from BaseException and does not export."""
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT")
"""Variables that obstore reads, and in which it does not expect anything but an address."""
_RETRIES: dict[str, Any] = {"max_retries": 5, "retry_timeout": timedelta(seconds=60)}


class Found(NamedTuple):
    """An object, and the e-tag by which it can be replaced."""

    content: bytes
    e_tag: str


class Objects:
    """The objects below the URL of a store.

    Each method raises :class:`Rejected` with PGT513 if the store does not answer, or denies it.
    """

    def __init__(self, url: str) -> None:
        """Open the store. Raise :class:`Rejected` with PGT512 (obstore is missing) or PGT513 (no URL of a store)."""
        self.url = url
        _check(url)
        try:
            import obstore
            from obstore.store import from_url
        except ImportError:
            hint = installing("obstore")
            raise Rejected(Diagnostic("PGT512", "an out directory in a store needs obstore", hint=hint)) from None
        self._api = obstore
        options = {} if url.startswith("file:") else {"retry_config": _RETRIES}
        with self._asking():
            self._store: Any = from_url(url, **options)  # type: ignore[call-overload]

    def read(self, name: str) -> Found | None:
        """Read an object; None if there is none."""
        with self._asking():
            try:
                result = self._api.get(self._store, name)
                return Found(bytes(result.bytes()), result.meta["e_tag"] or "")
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):
                    raise
                return None

    def write(self, name: str, content: bytes) -> None:
        """Write an object, whether or not it exists."""
        with self._asking():
            self._api.put(self._store, name, content)

    def swap(self, name: str, content: bytes, e_tag: str | None) -> str | None:
        """Replace the object that has this e-tag, or create one (None), and return the new e-tag.

        Return None if another object is there by now.
        """
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with self._asking():
            try:
                mode: Any = "create" if e_tag is None else {"e_tag": e_tag}
                return self._api.put(self._store, name, content, mode=mode)["e_tag"] or ""
            except (AlreadyExistsError, PreconditionError):
                return None
            except FileNotFoundError as error:  # S3 answers so where the object is gone
                if "NoSuchBucket" in str(error):
                    raise
                return None

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects; one that is gone is no error."""
        found = list(names)
        if found:
            with self._asking():
                self._api.delete(self._store, found)

    def list(self, prefix: str) -> Iterator[tuple[str, datetime]]:
        """Yield the name of every object below a prefix, and when it was written by the clock of the store."""
        with self._asking():
            for some in self._api.list(self._store, prefix):
                yield from ((found["path"], found["last_modified"]) for found in some)

    def require_conditions(self) -> None:
        """See that the store refuses a write whose condition fails. Raise :class:`Rejected` with PGT514 if not.

        A store that ignores conditions would let two builds replace each other's tree.
        """
        self.write(PROBE, b"pgtls sees whether this store knows conditional writes\n")
        try:
            answers = self.swap(PROBE, b"created twice\n", None), self.swap(PROBE, b"replaced\n", '"0"')
        except NotImplementedError:
            answers = "", ""
        if answers != (None, None):
            message = f'the store "{self.url}" does not know conditional writes'
            hint = (
                "two builders would overwrite each other: use a store that knows If-Match and If-None-Match, as "
                "S3, Google Cloud Storage and Azure do, or a local out directory on one machine"
            )
            raise Rejected(Diagnostic("PGT514", message, hint=hint))

    @contextmanager
    def _asking(self) -> Iterator[None]:
        from obstore.exceptions import BaseError, NotSupportedError

        try:
            yield
        except NotSupportedError as error:
            raise NotImplementedError from error  # as obstore itself says it for a local store
        except (BaseError, OSError) as error:
            raise Rejected(_unusable(self.url, str(error))) from None
        except BaseException as error:
            if type(error).__name__ != _PANIC:
                raise
            raise Rejected(_unusable(self.url, f"the library ended with a fault of its own: {error}")) from None


def at_once(do: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """Do the same for many items, some at a time: most of it is waiting for the store."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(do, items))


def _check(url: str) -> None:
    """Raise :class:`Rejected` with PGT513 for a URL that is no place, or that holds credentials."""
    hint = "write it as s3://BUCKET/PREFIX; gs://, az:// and abfs:// name other stores"
    try:
        parts = urlsplit(url)
        secret = parts.username is not None or parts.password is not None
    except ValueError:
        raise Rejected(Diagnostic("PGT513", "the URL of the store cannot be read", hint=hint)) from None
    if secret or parts.query or parts.fragment:
        message = "the URL of the store holds more than a place"
        hint = "credentials come from the environment, such as AWS_ACCESS_KEY_ID; a URL is in every log"
        raise Rejected(Diagnostic("PGT513", message, hint=hint))
    if parts.scheme not in SCHEMES:
        raise Rejected(Diagnostic("PGT513", f'"{url}" names no kind of store that pgtls knows', hint=hint))
    for variable in _ENDPOINTS:
        if not _is_address(os.environ.get(variable, "http://localhost")):
            message = f"the variable {variable} does not hold the address of a store"
            raise Rejected(Diagnostic("PGT513", message, hint="write it as https://HOST or https://HOST:PORT"))


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # no port, or no host
        return False


_ANSWER = re.compile(r"<Code>(\w+)</Code>.*?<Message>([^<]*)</Message>", re.DOTALL)
_LINK = re.compile(r"\bhttps?://\S+")
_DENIED = re.compile(r"\b(?:403|401) |AccessDenied|Forbidden")


def _unusable(url: str, error: str) -> Diagnostic:
    """Return the diagnostic for a store that does not do what it was asked: PGT513."""
    text = error.partition("\n\nDebug source")[0]
    answer = _ANSWER.search(text)
    reason = f"{answer[1]}: {answer[2]}" if answer else text.rpartition(" - ")[2].partition("\n")[0]
    reason = _LINK.sub("its address", reason).strip().removesuffix(".")
    if "NoSuchBucket" in text:
        hint = "create the bucket, or name another one with --out"
    elif _DENIED.search(text):
        hint = "give these credentials the rights of a builder, or to fetch, of the prefix of the entity"
    else:
        hint = "check the address, the network and the credentials in the environment, such as AWS_ENDPOINT_URL"
    return Diagnostic("PGT513", f'the store "{url}" cannot be used: {reason}', hint=f"{hint}; nothing has changed")
