"""``embedder serve``: runs the service on this machine until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

from deployments.commands.arguments import Commands, add_command, add_config
from deployments.launch.exposure import is_loopback
from deployments.launch.services.description import ServiceDescription
from deployments.launch.services.instances import services


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    serve = add_command(commands, "serve", run, "run the service until Ctrl-C")
    add_config(serve)
    serve.add_argument("--host", help="overrides the host of the configuration, like ::1")
    serve.add_argument("--port", type=int, help="overrides the port of the configuration")
    serve.add_argument("--plain", action="store_true", help="leave out HAProxy and throughput mode")
    serve.add_argument("--log", type=Path, help="write the output of Ray to this file")
    serve.add_argument(
        "--timeout", type=float, default=300.0, help="seconds until it must be ready"
    )


def run(options: argparse.Namespace) -> int:
    """Serve until interrupted and return 0; return 1 if the service ends by itself."""
    from deployments.launch.child_process import launched

    began = time.monotonic()
    # Handle both: a supervisor sends SIGTERM, and a shell may have started this process with SIGINT
    # ignored, which the child would inherit.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, _interrupt)
    try:
        with launched(
            options.config,
            host=options.host,
            port=options.port,
            tuned=not options.plain,
            log=options.log,
        ) as launch:
            _report_orphans()
            launch.wait_until_ready(
                options.timeout,
                lambda missing: _show(f"{missing} … {time.monotonic() - began:.0f} s"),
            )
            seconds = time.monotonic() - began
            _show("")
            ready = f"embedder serves at {launch.url} (ready in {seconds:.0f} s, Ctrl-C stops)"
            print(ready, flush=True)
            _report(sign_in(launch.service.description))
            if not launch.has_keys:
                _report("no API keys are set, so it answers on this machine only")
            elif not _is_private(launch.url):
                _report("clients on the network send keys without TLS: see docs/access.md")
            launch.watch(_report)
            print(f"embedder: the service ended:\n{launch.tail()}", file=sys.stderr)
    except KeyboardInterrupt:
        print("embedder: stopped", file=sys.stderr)
        return 0
    return 1


def sign_in(service: ServiceDescription) -> str:
    """Return where Ray's dashboard is, and which token it asks for."""
    if service.dashboard is None:
        return "Ray's dashboard does not run"
    token = "" if service.token_file is None else f" (in {service.token_file})"
    return (
        f"Ray's dashboard is at {service.dashboard}; it asks for the token that 'ray "
        f"get-auth-token' prints{token}"
    )


def _is_private(url: str) -> bool:
    """Return whether keys travel by TLS, or do not leave this machine."""
    address = urlsplit(url)
    return address.scheme == "https" or is_loopback(address.hostname or "")


def _report_orphans() -> None:
    """Report the processes of services whose `embedder serve` was killed."""
    for other in services():
        if not other.is_attended:
            command = f"embedder stop --address {other.description.url}"
            _report(f"still here: {other}; end it by '{command}'")


def _report(change: str) -> None:
    print(f"embedder: {change}", file=sys.stderr, flush=True)


def _show(progress: str) -> None:
    """Replace the present line of a terminal."""
    if sys.stderr.isatty():
        print(f"\r\033[K{progress}", end="", file=sys.stderr, flush=True)


def _interrupt(signal_number: int, frame: FrameType | None) -> None:
    print("\nembedder: stopping (again: at once)", file=sys.stderr, flush=True)
    raise KeyboardInterrupt
