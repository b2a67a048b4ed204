"""Receives spans over OTLP, as protobuf over HTTP, on this machine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from deployments.commands.traces.tree import ReceivedSpan
from embedder.core.errors import ConfigurationError

PATH = "/v1/traces"
HOST = "127.0.0.1"
MAX_BYTES = 16 * 2**20
"""The most bytes of one message; an exporter sends at most 512 spans in each."""

Receive = Callable[[Sequence[ReceivedSpan]], None]


@contextmanager
def receiving(receive: Receive, port: int) -> Iterator[None]:
    """Call ``receive`` with the spans of each message, one message at a time, in the block.

    Raises:
        ConfigurationError: the port is in use.
    """
    try:
        server = ThreadingHTTPServer((HOST, port), _handler(receive))
    except (OSError, OverflowError) as error:
        raise ConfigurationError(f"cannot listen on {HOST}:{port}: {error}; see --port") from error
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def spans_of(message: bytes) -> list[ReceivedSpan]:
    """Return the spans of a message.

    Raises:
        DecodeError: it is not an export request of OTLP.
    """
    return [
        _received(span)
        for resource in ExportTraceServiceRequest.FromString(message).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _received(span: Span) -> ReceivedSpan:
    failed = span.status.code == Status.STATUS_CODE_ERROR
    return ReceivedSpan(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        name=span.name,
        start_s=span.start_time_unix_nano / 1e9,
        end_s=span.end_time_unix_nano / 1e9,
        attributes={
            one.key: getattr(one.value, one.value.WhichOneof("value") or "string_value")
            for one in span.attributes
        },
        links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        error=span.status.message if failed else None,
    )


def _handler(receive: Receive) -> type[BaseHTTPRequestHandler]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        """Answers an exporter."""

        def do_POST(self) -> None:
            """Read one message."""
            status, answer = self._status(), b""
            if status == 200:
                answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(status)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def _status(self) -> int:
            declared = self.headers.get("content-length", "")
            size = int(declared) if declared.isdecimal() and declared.isascii() else 0
            self.close_connection = size > MAX_BYTES
            if self.path != PATH:
                return 404
            if size > MAX_BYTES:
                return 413
            try:
                spans = spans_of(self.rfile.read(size))
            except DecodeError:
                return 400
            with lock:
                receive(spans)
            return 200

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    return Handler
