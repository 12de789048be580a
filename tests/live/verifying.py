"""``pgtls verify`` in this process, and servers on which faults are made on purpose."""

from __future__ import annotations

import contextlib
import socket
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pgtls.api import Spec
from pgtls.diagnostics import Diagnostic
from pgtls.language.files import Disk
from pgtls.live.run import loaded, verify
from support.servers import ServerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgtls.live.verify import Verified
    from support.building import Place
    from support.servers import Server


def seen(
    place: Place,
    port: int,
    *,
    now: datetime | None = None,
    host: str = "127.0.0.1",
    user: str | None = None,
    wait: float = 0,
    name: str | None = None,
) -> Verified:
    """Verify a server of a spec, by default the only one, on a port."""
    moment = now or datetime.now(UTC)
    tree = loaded(Spec(str(place.spec), moment, Disk(), str(place.lock)))
    if name is None:
        (name,) = tree.compiled
    found = verify(tree, name, host, port, user, wait, moment)
    assert not isinstance(found, Diagnostic), found
    return found


def faults(found: Verified) -> list[str]:
    """Return the names of all that differs."""
    return [str(check.fault) for check in found.checks if check.outcome == "differs"]


class Site:
    """A server that can be given compiled files, broken, and put back in order."""

    def __init__(self, server: Server, place: Place) -> None:
        self.server, self.place = server, place
        self._conf = (server.data / "postgresql.conf").read_bytes()

    def install(self, compiled: str = "servers/db", *, place: Place | None = None) -> None:
        """Put the compiled files in order and load them."""
        self.server.write("postgresql.conf", self._conf)
        self.server.install((place or self.place).file(compiled))

    def start_again(self) -> None:
        """Start the server with its first configuration and the compiled files: after what a reload does not undo."""
        self.server.write("postgresql.conf", self._conf)
        self.server.place(self.place.file("servers/db"))
        self.server.restart()

    def reload(self) -> None:
        """Reload, whether the server takes its files or not."""
        with contextlib.suppress(ServerError):
            self.server.reload()

    def configure(self, **settings: str) -> None:
        """Override settings and reload."""
        self.server.configure(**settings)
        self.reload()

    def write(self, name: str, content: str | bytes) -> None:
        """Replace a file of the server and reload."""
        self.server.write(name, content)
        self.reload()

    def read(self, name: str) -> bytes:
        """Read a compiled file of the server."""
        return self.place.file(f"servers/db/{name}").read_bytes()


@contextmanager
def listener(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Listen on a port, and give each connection to ``answer``, which may return at any time."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.2)
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                with contextlib.suppress(OSError):
                    connection, _ = listening.accept()
                    with connection, contextlib.suppress(OSError):
                        answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            ended.set()
            thread.join()
