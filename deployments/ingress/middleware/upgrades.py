"""A server that ignores offers to upgrade the connection, and takes headers in Latin-1 too.

Java's HttpClient and ``curl --http2`` offer HTTP/2 on every first request. uvicorn's fast parser
takes the bytes after such a head for those of another protocol, so that the body is lost; and for a
WebSocket it begins a handshake that gets no answer. RFC 9110 (7.8) lets a server ignore an offer.
"""

from __future__ import annotations

import httptools
import uvicorn.config
from starlette.middleware import Middleware
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

OFFERS = frozenset({b"upgrade", b"http2-settings"})
"""The headers of an offer; both are named in ``connection`` as well."""


class DecliningProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with every offer removed from a head before the request begins."""

    def data_received(self, data: bytes) -> None:
        """Parse what has come; a head with an offer is parsed a second time without it."""
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
        """Keep a header; one that is not UTF-8 is Latin-1, as RFC 9110 has it.

        Ray Serve decodes ``x-request-id`` and others as UTF-8, and answers 500 if it cannot.
        """
        super().on_header(name, _in_utf_8(value))

    def on_headers_complete(self) -> None:
        """Begin the request, unless its head is to be parsed again."""
        if not self._has_offer():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End the request, unless its head is to be parsed again."""
        if not self._has_offer():
            super().on_message_complete()

    def _should_upgrade(self) -> bool:
        return False

    def _has_offer(self) -> bool:
        # The parser says so of CONNECT too, which has no such header.
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
    """Let every uvicorn server that this process starts use `DecliningProtocol`.

    Returns no middleware: Ray Serve calls this in its proxies where
    ``RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH`` names it, and expects a list.
    """
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{DecliningProtocol.__name__}"
    return []
