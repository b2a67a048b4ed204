"""An HTTP server that answers with its port, a POST after a while: an ingress for a HAProxy.

``python -m tests.cluster.slow_server PORT SECONDS [HOST]``.
"""

from __future__ import annotations

import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """Keeps connections open, as the ingress does."""

    protocol_version = "HTTP/1.1"
    delay_s = 0.0

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        time.sleep(self.delay_s)
        self._answer()

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def _answer(self) -> None:
        body = sys.argv[1].encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class ServerOfIPv6(ThreadingHTTPServer):
    """Listens on an address of IPv6."""

    address_family = socket.AF_INET6


if __name__ == "__main__":
    Handler.delay_s = float(sys.argv[2])
    host = sys.argv[3] if len(sys.argv) > 3 else "127.0.0.1"
    kind = ServerOfIPv6 if ":" in host else ThreadingHTTPServer
    kind((host, int(sys.argv[1])), Handler).serve_forever()
