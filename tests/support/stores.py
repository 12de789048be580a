"""An S3 store in a process of its own (moto), with the faults of networks and stores on request.

Its faults are seen by clients as those of a network or of another product: :class:`Faults` are set while it runs. The
store notes every pointer that it has ever accepted, with the names of all objects that it held at that moment.
"""

from __future__ import annotations

import atexit
import io
import json
import random
import socket
import subprocess
import sys
import tarfile
import threading
import time
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import cache, partialmethod
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3  # type: ignore[import-untyped]

from support.building import SMALL
from support.pgtls import Run, pgtls
from support.servers import PATIENCE
from support.system import ENVIRONMENT, until_we_end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

BUCKET = "shared"
_CONTROL = "/-/"


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong."""

    deaf: bool = False
    """Ignore the conditions of writes."""
    slow: float = 0
    """Seconds that a request takes in addition, at most."""
    lost: int = 0
    """Do each write of a pointer whose number this divides, and answer with an error."""
    stale: int = 0
    """Answer each read of a pointer whose number this divides with the pointer before."""
    refuse: bool = False
    """Say of each pointer that another one is there by now."""


class Store:
    """A running store, and what tests ask it. Its URL in ``--out`` is :meth:`url`."""

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self.environment = self.credentials("testing", "testing")
        self._names = iter(range(1 << 30))

    def url(self, prefix: str | None = None) -> str:
        """Return the URL of a prefix, by default of a new one."""
        return f"s3://{BUCKET}/{prefix or f'test-{next(self._names)}'}"

    def credentials(self, key: str, secret: str) -> dict[str, str]:
        """Return the variables by which a client finds this store, as somebody."""
        return {
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ALLOW_HTTP": "true",
        }

    def client(self, service: str) -> Any:
        """Return a client of the store that is not pgtls's."""
        keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": "us-east-1"}
        return boto3.client(service, endpoint_url=self.endpoint, **keys)

    def objects(self, url: str) -> dict[str, bytes]:
        """Return every object below the URL by its name."""
        s3, prefix = self.client("s3"), url.removeprefix(f"s3://{BUCKET}/") + "/"
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        keys = [found["Key"] for page in pages for found in page.get("Contents", ())]
        return {key.removeprefix(prefix): s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in sorted(keys)}

    def put(self, url: str, name: str, content: bytes) -> None:
        """Write an object, as an administrator or an attacker does."""
        key = f"{url.removeprefix(f's3://{BUCKET}/')}/{name}"
        self.client("s3").put_object(Bucket=BUCKET, Key=key, Body=content)

    def remove(self, url: str, name: str) -> None:
        """Delete an object."""
        self.client("s3").delete_object(Bucket=BUCKET, Key=f"{url.removeprefix(f's3://{BUCKET}/')}/{name}")

    def pointers(self, url: str) -> list[tuple[dict[str, Any], set[str]]]:
        """Return every pointer there ever was at this URL, with the names of the objects at that moment."""
        prefix = url.removeprefix(f"s3://{BUCKET}/") + "/"
        found = []
        for key, content, names in self._ask("pointers"):
            if key == f"{prefix}pointer.json":
                names = {name.removeprefix(prefix) for name in names if name.startswith(prefix)}
                found.append((json.loads(content), names))
        return found

    def age(self, url: str, *, days: float) -> None:
        """Make every object older."""
        self._ask("age", [url.removeprefix(f"s3://{BUCKET}/") + "/", days])

    @contextmanager
    def faults(self, **faults: Any) -> Iterator[None]:
        """Let these things go wrong for a while."""
        self._ask("faults", asdict(Faults(**faults)))
        try:
            yield
        finally:
            self._ask("faults", asdict(Faults()))

    @contextmanager
    def rights(self, *statements: dict[str, Any]) -> Iterator[dict[str, str]]:
        """Yield the environment of a user with these rights alone, while the store asks everybody for rights."""
        iam, name = self.client("iam"), f"reader-{next(self._names)}"
        iam.create_user(UserName=name)
        if statements:
            document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **one} for one in statements]}
            iam.put_user_policy(UserName=name, PolicyName="rights", PolicyDocument=json.dumps(document))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        self._ask("enforce", True)
        try:
            yield self.credentials(key["AccessKeyId"], key["SecretAccessKey"])
        finally:
            self._ask("enforce", False)

    def _ask(self, what: str, value: Any = None) -> Any:
        connection = HTTPConnection(self.endpoint.removeprefix("http://"), timeout=PATIENCE)
        with closing(connection):
            connection.request("POST", f"{_CONTROL}{what}", json.dumps(value))
            return json.loads(connection.getresponse().read())


@cache
def store() -> Store:
    """Return the store of this test process; it ends with it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [*until_we_end(), sys.executable, "-m", "support.stores", str(port)]
    process = subprocess.Popen(words, env={**ENVIRONMENT, "PYTHONPATH": str(Path(__file__).parents[1])})
    atexit.register(_end, process)
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            assert time.monotonic() < deadline, "the store does not start"
            time.sleep(0.05)
    running = Store(port)
    running.client("s3").create_bucket(Bucket=BUCKET)
    return running


class Builder:
    """One machine: a checkout with the spec, a directory for copies of its own, and the URL of the store."""

    def __init__(self, directory: Path, url: str, spec: str = SMALL) -> None:
        self.directory, self.url = directory, url
        self.temporary = directory / "tmp"
        self.temporary.mkdir(parents=True)
        self.write(spec)

    def write(self, spec: str) -> None:
        (self.directory / "pgtls.toml").write_text(spec)

    @property
    def lock(self) -> Path:
        return self.directory / "pgtls.lock"

    @property
    def environment(self) -> dict[str, str]:
        return {**store().environment, "TMPDIR": str(self.temporary), "PGTLS_OUT": self.url}

    def run(self, *words: str | Path, stdin: str = "", **environment: str) -> Run:
        return pgtls(*words, cwd=self.directory, environment={**self.environment, **environment}, stdin=stdin)

    def build(self, *words: str) -> Run:
        run = self.run("build", *words)
        assert run.status == 0, run.stderr
        assert not list(self.temporary.rglob("*.*")), "the copy is gone, with its keys"
        return run


def tree(url: str) -> dict[str, bytes]:
    """Return the files of the tree that the pointer names, unpacked by other code than pgtls's."""
    objects = store().objects(url)
    return files_of(json.loads(objects["pointer.json"]), objects)


def files_of(pointer: dict[str, Any], objects: dict[str, bytes]) -> dict[str, bytes]:
    named = json.loads(objects[f"trees/{pointer['recent'][0]}.json"])
    blobs = [f"state/{named['state']}.tar", *(f"entities/{where}/{name}.tar" for where, name in named["packs"].items())]
    found: dict[str, bytes] = {}
    for blob in blobs:
        with tarfile.open(fileobj=io.BytesIO(objects[blob])) as archive:
            for member in archive:
                file = archive.extractfile(member)
                assert file is not None
                found[member.name] = file.read()
    return found


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def announce() -> None:
    """Let :mod:`support.killing` know of each write to a store, before and after it."""
    from pgtls.store.objects import Objects

    def announced(self: Objects, what: Any, *more: Any, method: Callable[..., Any]) -> Any:
        sys.audit("store.write", method.__name__, f"{what}: before")
        result = method(self, what, *more)
        sys.audit("store.write", method.__name__, f"{what}: after")
        return result

    for name in ("write", "swap", "delete"):
        setattr(Objects, name, partialmethod(announced, method=getattr(Objects, name)))


class _Faulty:
    """The store as a WSGI application, with faults in front of it. Writes are one at a time: moto's are not atomic."""

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self.application = application
        self.faults = Faults()
        self.writing = threading.Lock()
        self.pointers: list[tuple[str, str, list[str]]] = []
        self.answers: dict[str, list[tuple[str, list[tuple[str, str]], bytes]]] = {}
        self.reads = self.writes = 0

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if path.startswith(_CONTROL):
            status, headers, body = self._control(path.removeprefix(_CONTROL), _body(environ))
        else:
            if self.faults.slow:
                time.sleep(random.uniform(0, self.faults.slow))  # noqa: S311
            if self.faults.deaf:
                environ.pop("HTTP_IF_MATCH", None)
                environ.pop("HTTP_IF_NONE_MATCH", None)
            if method == "GET":
                status, headers, body = self._read(path, environ)
            else:
                with self.writing:
                    status, headers, body = self._write(path, environ)
        start(status, headers)
        return [body]

    def _read(self, path: str, environ: dict[str, Any]) -> tuple[str, list[tuple[str, str]], bytes]:
        answer = self._call(environ)
        if path.endswith("/pointer.json") and answer[0].startswith("200"):
            known = self.answers.setdefault(path, [])
            if answer not in known:
                known.append(answer)
            self.reads += 1
            if self.faults.stale and self.reads % self.faults.stale == 0:
                return known[-2] if len(known) > 1 else answer
        return answer

    def _write(self, path: str, environ: dict[str, Any]) -> tuple[str, list[tuple[str, str]], bytes]:
        content = _body(environ)
        if self.faults.refuse and path.endswith("/pointer.json"):
            return "412 Precondition Failed", [("Content-Length", "0")], b""
        answer = self._call(environ)
        if path.endswith("/pointer.json") and environ["REQUEST_METHOD"] == "PUT" and answer[0].startswith("200"):
            self.pointers.append((path.removeprefix(f"/{BUCKET}/"), content.decode(), _names()))
            self.writes += 1
            if self.faults.lost and self.writes % self.faults.lost == 0:
                return "500 Internal Server Error", [("Content-Length", "0")], b""
        return answer

    def _call(self, environ: dict[str, Any]) -> tuple[str, list[tuple[str, str]], bytes]:
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start(status: str, headers: list[tuple[str, str]], _: Any = None) -> None:
            started.append((status, headers))

        body = b"".join(self.application(environ, start))
        return (*started[0], body)

    def _control(self, what: str, content: bytes) -> tuple[str, list[tuple[str, str]], bytes]:
        from moto import settings
        from moto.core.authorization import ActionAuthenticatorMixin

        value = json.loads(content)
        answer: Any = None
        if what == "faults":
            self.faults, self.reads, self.writes = Faults(**value), 0, 0
        elif what == "pointers":
            answer = self.pointers
        elif what == "age":
            _age(*value)
        elif what == "enforce":
            settings.INITIAL_NO_AUTH_ACTION_COUNT = 0 if value else float("inf")
            ActionAuthenticatorMixin.request_count = 0
        body = json.dumps(answer).encode()
        return "200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))], body


def _body(environ: dict[str, Any]) -> bytes:
    """Read the body of a request, and leave it to be read again."""
    from io import BytesIO

    content: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = BytesIO(content)
    return content


def _names() -> list[str]:
    """Return the names of all objects of the bucket, from the memory of the store itself."""
    from moto.s3.models import s3_backends

    return [*s3_backends["123456789012"]["aws"].buckets[BUCKET].keys.keys()]


def _age(prefix: str, days: float) -> None:
    from moto.s3.models import s3_backends

    for name, found in s3_backends["123456789012"]["aws"].buckets[BUCKET].keys.items():
        if name.startswith(prefix):
            found.last_modified -= timedelta(days=days)


def _main(port: str) -> None:
    import logging

    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import run_simple

    logging.getLogger("werkzeug").disabled = True
    application = _Faulty(DomainDispatcherApplication(create_backend_app))
    run_simple("127.0.0.1", int(port), application, threaded=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
