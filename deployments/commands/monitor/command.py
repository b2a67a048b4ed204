"""``embedder monitor``: runs Prometheus beside a service until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from deployments.commands.arguments import Commands, add_command, add_service
from deployments.commands.connecting import chosen
from deployments.commands.monitor.check import check
from deployments.launch.services.instances import session_folder
from deployments.operations.monitoring.prometheus import Prometheus, started
from embedder.core.errors import ConfigurationError

PORT = 9090
"""Where Ray's dashboard looks for Prometheus, unless `RAY_PROMETHEUS_HOST` says otherwise."""

NODES_S = 5.0
"""Seconds between two looks at the list of the service's nodes."""


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    monitor = add_command(
        commands,
        "monitor",
        run,
        "run Prometheus beside a service until Ctrl-C",
        "It reads the metrics of every node of the service, evaluates the alert rules, and listens "
        "on this machine only.",
    )
    add_service(monitor)
    monitor.add_argument(
        "--prometheus-port", type=int, default=PORT, metavar="PORT", help=f"of its pages ({PORT})"
    )
    monitor.add_argument(
        "--files",
        type=Path,
        default=Path("monitoring"),
        metavar="FOLDER",
        help="with prometheus.yml, alerts.yml and panels.yml (monitoring)",
    )
    monitor.add_argument(
        "--history", type=Path, metavar="FOLDER", help="keeps the history, which is removed else"
    )
    monitor.add_argument(
        "--check",
        action="store_true",
        help="only list the panels and the alerts, with and without data, of the Prometheus that "
        "runs; the exit status is 1 if one lacks data",
    )


def run(options: argparse.Namespace) -> int:
    """Run Prometheus until interrupted, or check the one that runs; return the exit status."""
    if options.check:
        return check(options.files, Prometheus(options.prometheus_port))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    service, session = _service(options)
    # From here on only this service, also after a restart, whichever others start meanwhile.
    options.address, options.started_in = service, None
    try:
        with started(
            options.files, session, options.prometheus_port, options.history
        ) as prometheus:
            print(_started(service, prometheus, options.files), flush=True)
            while prometheus.process.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    prometheus.process.wait(NODES_S)
                with suppress(ConfigurationError):  # the service ended, or starts again
                    prometheus.set_nodes(_service(options)[1])
            raise ConfigurationError(f"Prometheus ended:\n{prometheus.tail()}")
    except KeyboardInterrupt:
        return 0


def _service(options: argparse.Namespace) -> tuple[str, Path]:
    """Return the address of the chosen service and the folder of the session of its Ray.

    Raises:
        ConfigurationError: as `chosen`; or the service runs on another machine, or does not run.
    """
    choice = chosen(options)
    session = None if choice.ray_address is None else session_folder(choice.ray_address)
    if session is None:
        raise ConfigurationError(
            f"no Ray of this user on this machine belongs to {choice.url or choice.ray_address}: "
            "run this command on the head of its cluster, or give your own Prometheus the "
            "configuration in monitoring/prometheus.yml"
        )
    return choice.url or str(choice.ray_address), session


def _started(address: str, prometheus: Prometheus, files: Path) -> str:
    return "\n".join(
        [
            f"Prometheus reads the service at {address} (Ctrl-C stops)",
            f"  queries  {prometheus.url}",
            f"  alerts   {prometheus.url}/alerts",
            "  check    embedder monitor --check, which lists the panels with data",
            f"  Grafana  serves {files / 'dashboard.json'} with the files in {files / 'grafana'}: "
            "docs/monitoring.md",
        ]
    )
