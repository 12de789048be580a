"""Send HTTPS requests that end in time, whatever the server does, with answers of a bounded size.

The timeouts of ``requests`` hold for each look-up, each address and each read: a server that sends a byte a second, or
has many addresses, is never late for them.
"""

from __future__ import annotations

import io
import ssl
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from requests.adapters import HTTPAdapter

from pgtls.pki.patience import within

if TYPE_CHECKING:
    from requests import Response

PATIENCE = 30
"""The most seconds for one request."""

LONGEST = 256 * 1024
"""The most bytes of an answer: a chain of CAs with large keys is a tenth of it."""


class Limit(Exception):  # noqa: N818
    """Report that an answer is late, long, or elsewhere."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


class Https(HTTPAdapter):
    """The way to servers. All requests must end by ``until``, an instant of :func:`time.monotonic`.

    It raises :class:`Limit`. It follows no redirect, and decompresses nothing: an answer stays as long as it came.
    """

    def __init__(self, until: float) -> None:
        self.until = until
        self._context = _Context(ssl.PROTOCOL_TLS_CLIENT)
        super().__init__()

    def init_poolmanager(self, *sizes: Any, **options: Any) -> None:
        """Give each connection the sockets that look at the time."""
        super().init_poolmanager(*sizes, **options, ssl_context=self._context)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """Give each connection through a proxy the same sockets."""
        return super().proxy_manager_for(proxy, **options, ssl_context=self._context)

    def send(self, request: Any, *_: Any, **options: Any) -> Response:
        """Send a request; return the whole answer."""
        request.headers["Accept-Encoding"] = "identity"
        left = self.until - time.monotonic()
        late = Limit("did not answer in time", "set a longer timeout in sign")
        if left > PATIENCE:
            left, late = PATIENCE, Limit(f"did not answer within {PATIENCE} seconds")
        self._context.until = time.monotonic() + left
        sent = options | {"stream": True, "timeout": left}
        try:
            return within(left, lambda: _whole(super(Https, self).send(request, **sent)))
        except Exception:
            if time.monotonic() >= self._context.until:
                raise late from None
            raise


def _whole(response: Response) -> Response:
    """Read the body of an answer. Refuse a longer one, and a redirect."""
    with closing(response):
        if response.is_redirect:
            hint = "name the URL of its directory in acme"
            raise Limit(f'redirects to "{response.headers["Location"]}", which is not followed', hint)
        body = response.raw.read(LONGEST + 1, decode_content=False)
    if len(body) > LONGEST:
        raise Limit(f"answers with more than {LONGEST // 1024} KiB")
    response.raw = io.BytesIO(body)
    return response


class _Socket(ssl.SSLSocket):
    """A connection that reads until an instant: else a request that nobody waits for any more would go on for ever."""

    def read(self, *to: Any) -> Any:
        assert isinstance(self.context, _Context)  # noqa: S101
        if (left := self.context.until - time.monotonic()) <= 0:
            raise TimeoutError
        self.settimeout(left)
        return super().read(*to)


class _Context(ssl.SSLContext):
    """The TLS of all connections, which must end by ``until``."""

    until = 0.0
    sslsocket_class = _Socket
