"""``embedder`` on the command line: serve on this machine, or embed texts without a server."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from types import FrameType

import orjson

from embedder.errors import EmbedderError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0, or 1 with the reason on stderr."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except EmbedderError as error:
        print(f"embedder: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="embedder", description="Serve embeddings on this machine, or embed without a server."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('embedder')}")
    commands = parser.add_subparsers(required=True)
    serve = commands.add_parser("serve", help="run the service until Ctrl-C")
    serve.add_argument(
        "config",
        nargs="?",
        type=Path,
        default=Path("serve_config.yaml"),
        help="a Serve configuration (serve_config.yaml)",
    )
    serve.add_argument("--port", type=int, help="instead of the configuration's")
    serve.add_argument("--plain", action="store_true", help="leave out HAProxy and throughput mode")
    serve.add_argument("--log", type=Path, help="keep what Ray prints in this file")
    serve.add_argument("--timeout", type=float, default=300.0, help="seconds to get ready in")
    serve.set_defaults(run=_serve)
    embed = commands.add_parser("embed", help="embed texts in this process, one JSON list a line")
    embed.add_argument("texts", nargs="*", help="texts; without any, the lines of stdin")
    embed.add_argument("--model", help="alias of the catalogue, or a directory")
    embed.set_defaults(run=_embed)
    return parser


def _serve(options: argparse.Namespace) -> int:
    from deployments.launch import launched

    began = time.monotonic()
    # A supervisor stops with SIGTERM, and a shell may have started us with Ctrl-C ignored, which
    # the child would inherit: both take the same way out.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, _interrupt)
    try:
        with launched(
            options.config, port=options.port, tuned=not options.plain, log=options.log
        ) as launch:
            launch.wait_until_ready(options.timeout, _Progress(began))
            seconds = time.monotonic() - began
            _clear_line()
            print(f"embedder serves at {launch.url} (ready in {seconds:.0f} s, Ctrl-C stops)")
            sys.stdout.flush()
            launch.watch(lambda change: print(f"embedder: {change}", file=sys.stderr, flush=True))
            print(f"embedder: the service ended:\n{launch.tail()}", file=sys.stderr)
    except KeyboardInterrupt:
        print("embedder: stopped", file=sys.stderr)
        return 0
    return 1


def _embed(options: argparse.Namespace) -> int:
    from embedder.generator import EmbeddingGenerator

    texts = options.texts or [line.rstrip("\n") for line in sys.stdin]
    with EmbeddingGenerator(options.model) as generator:
        for vector in generator.embed(texts):
            print(orjson.dumps(vector, option=orjson.OPT_SERIALIZE_NUMPY).decode())
    return 0


class _Progress:
    """Show on a terminal what start-up waits for, on one line that is written over."""

    def __init__(self, began: float) -> None:
        self._began = began

    def __call__(self, missing: str) -> None:
        if sys.stderr.isatty():
            seconds = time.monotonic() - self._began
            print(f"\r\033[K{missing} … {seconds:.0f} s", end="", file=sys.stderr, flush=True)


def _clear_line() -> None:
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)


def _interrupt(signal_number: int, frame: FrameType | None) -> None:
    print("\nembedder: stopping (again: at once)", file=sys.stderr, flush=True)
    raise KeyboardInterrupt
