"""A uvicorn protocol that ignores upgrade offers, and accepts headers in Latin-1 and request ids.

Java's HttpClient and ``curl --http2`` offer HTTP/2 on every first request. uvicorn's parser treats
the bytes after such a request head as another protocol, so the body is lost; for a WebSocket it
begins a handshake that nothing answers. RFC 9110 (7.8) allows a server to ignore an offer.
"""

from __future__ import annotations

import httptools
import uvicorn.config
from starlette.middleware import Middleware
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from deployments.ingress.middleware.request_id import REQUEST_ID, is_request_id

OFFERS = frozenset({b"upgrade", b"http2-settings"})
"""The headers of an upgrade offer; ``connection`` names them too."""


class DecliningProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which removes an upgrade offer from a head before the request starts."""

    def data_received(self, data: bytes) -> None:
        """Parse the received bytes; parse a head with an offer a second time, without the offer."""
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            if self._has_offer():
                head = self._head_without_offer()
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
                self.data_received(head + data[offer.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; re-encode a value that is not UTF-8 from Latin-1, as in RFC 9110.

        Ray Serve decodes some headers as UTF-8, and answers 500 if it cannot. It makes a request id
        for a request without one; the id of a client is left out if it must not be in a log, and a
        second one, because Serve would return one and log the other.
        """
        if name.lower() == REQUEST_ID and not (is_request_id(value) and self._has_no_request_id()):
            return
        super().on_header(name, _in_utf_8(value))

    def on_headers_complete(self) -> None:
        """Start the request, unless its head will be parsed again."""
        if not self._has_offer():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End the request, unless its head will be parsed again."""
        if not self._has_offer():
            super().on_message_complete()

    def _has_no_request_id(self) -> bool:
        return all(name != REQUEST_ID for name, _ in self.headers)

    def _should_upgrade(self) -> bool:
        return False

    def _has_offer(self) -> bool:
        # should_upgrade() is also true for CONNECT, which has no upgrade header.
        offered = any(name == b"upgrade" for name, _ in self.headers)
        return offered and bool(self.parser.should_upgrade())

    def _head_without_offer(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        for name, value in self.headers:
            if name == b"connection":
                tokens = [token.strip() for token in value.split(b",")]
                value = b", ".join(token for token in tokens if token.lower() not in OFFERS)
            if name not in OFFERS and (value or name != b"connection"):
                lines.append(b"%b: %b" % (name, value))
        return b"\r\n".join([*lines, b"", b""])


def _in_utf_8(value: bytes) -> bytes:
    try:
        value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1").encode()
    return value


def decline_upgrades() -> list[Middleware]:
    """Make `DecliningProtocol` the default of the uvicorn servers in this process.

    Returns no middleware: Ray Serve calls this in its proxies where
    ``RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH`` names it, and expects a list.
    """
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{DecliningProtocol.__name__}"
    return []
