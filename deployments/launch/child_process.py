"""Runs the service on this machine in a child process with Ray, and watches it until it ends.

The child is `serve run`, as an operator could run it, with the environment that Ray must have
before it starts. If this process is killed, a second child ends all processes of the service.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from deployments.data import data_directory
from deployments.launch.database.passwords import hide_passwords
from deployments.launch.exposure import listening_addresses
from deployments.launch.ports import reserved_block
from deployments.launch.preflight import (
    base_url,
    check,
    check_temporary_folder,
    load_applications,
    read_config,
)
from deployments.launch.ray_environment import ray_environment
from deployments.launch.ray_token import make_token
from deployments.launch.readiness import not_ready, waiting_for
from deployments.launch.services.announcement import announce
from deployments.launch.services.description import write_description
from deployments.launch.services.instances import (
    REFUSAL_FILE,
    SESSION_FILE,
    ServiceInstance,
    end,
    remove_folders,
    services,
)
from deployments.launch.sizing import ClusterResources, resolve_auto
from deployments.logs.output_log import OutputLog, opened_log
from deployments.settings.service import ServeSettings
from embedder.core.deadline import Deadline
from embedder.core.errors import ConfigurationError
from embedder.core.host import usable_cores

POLL_S = 0.25
WATCH_S = 5.0
STOP_S = 45.0

DASHBOARD = re.compile(r"View the dashboard at \S*?(https?://[^\s\x1b]+)")
"""Where `serve run` prints the address of Ray's dashboard, after the codes of a colour."""


@dataclass(frozen=True, slots=True)
class ServiceProcess:
    """A service that is starting or running as a child process.

    Its output is in ``log``; ``output`` is what writes it, None if the process does so itself.
    """

    process: subprocess.Popen[bytes]
    service: ServiceInstance
    url: str
    log: Path
    has_keys: bool = False
    output: OutputLog | None = None

    def wait_until_ready(self, timeout_s: float, progress: Callable[[str], None]) -> None:
        """Wait until ``/readyz`` says ready; report to ``progress`` which stages are not.

        Raises:
            ConfigurationError: the service ended, cannot start, or is not ready in time; the
                message gives the reason, or the end of the log.
        """
        deadline = Deadline.after(timeout_s)
        while not deadline.expired:
            if self.process.poll() is not None:
                raise ConfigurationError(f"the service ended while starting:\n{self.tail()}")
            with contextlib.suppress(FileNotFoundError):
                raise ConfigurationError(Path(self.service.folder, REFUSAL_FILE).read_text())
            missing = waiting_for(self.url)
            if missing is None:
                self._describe_dashboard()
                return
            progress(missing)
            time.sleep(POLL_S)
        raise ConfigurationError(f"not ready within {timeout_s:.0f} s:\n{self.tail()}")

    def watch(self, report: Callable[[str], None]) -> None:
        """Report every change of the service's readiness until the service ends."""
        reported: str | None = None
        while self.process.poll() is None:
            missing = not_ready(self.url)
            if missing != reported and self.process.poll() is None:
                report(missing or "every stage answers again")
                reported = missing
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(WATCH_S)

    def stop(self) -> None:
        """Stop all processes of the service: gracefully, or at once after another interrupt."""
        try:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGINT)
                self.process.wait(STOP_S)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            pass
        finally:
            end(self.service)
            self.process.wait()

    def _describe_dashboard(self) -> None:
        """Write the address of Ray's dashboard, which chooses its port, for other commands."""
        # The last one, because an earlier start may have written to the same file.
        for address in DASHBOARD.findall(self._printed())[-1:]:
            described = replace(self.service.description, dashboard=address)
            write_description(Path(self.service.folder), described)

    def tail(self, lines: int = 20) -> str:
        """Return the end of the child's output; "" if that is on a device, as a terminal."""
        if self.output is not None and self.process.poll() is not None:
            self.output.drain()
        return "\n".join(self._printed().splitlines()[-lines:])

    def _printed(self) -> str:
        return self.log.read_text(errors="replace") if self.log.is_file() else ""


@contextmanager
def launched(
    config: Path,
    *,
    host: str | None = None,
    port: int | None = None,
    tuned: bool = True,
    log: Path | None = None,
) -> Iterator[ServiceProcess]:
    """Start the service of a Serve configuration, and stop it at the end.

    ``host`` and ``port`` override those of the configuration. ``tuned`` sets `THROUGHPUT`.

    Raises:
        ConfigurationError: a check before the start shows that the configuration cannot work.
    """
    document = _checked(read_config(config, host=host, port=port), tuned)
    make_token(os.environ)
    remove_folders()
    settings = [loaded.settings for _, loaded, _ in load_applications(document)]
    data = next(map(str, filter(None, map(data_directory, settings))), None)
    with reserved_block([other.block for other in services()]) as block:
        port, url = document["http_options"]["port"], base_url(document)
        service = announce(port, data, block, url, config)
        log = log or Path(service.folder, "serve.log")
        # After this service is visible to others: of two that start together, none is alone.
        environment = ray_environment(
            service,
            tuned,
            alone=services() == [service],
            addresses=_addresses(document),
            replays=any(map(_has_several_ingresses, settings)),
        )
        with _watched(service), opened_log(log, environment, service.folder) as output:
            has_keys = all(application.requires_keys for application in settings)
            process = _run(document, service, environment, output)
            launch = ServiceProcess(process, service, url, log, has_keys, output)
            try:
                yield launch
            finally:
                launch.stop()


def _checked(document: dict[str, Any], tuned: bool) -> dict[str, Any]:
    if tuned:
        check_temporary_folder()
    check(document)
    return document


def _has_several_ingresses(settings: ServeSettings) -> bool:
    """Return whether an ingress always has another one beside it.

    Ray has not started yet, so only this machine's cores are known. On a GPU that nothing states, a
    colocated encoder has one ingress, and HAProxy keeps requests in vain.
    """
    here = ClusterResources(cpus=usable_cores())
    return resolve_auto(settings, here).ingress.min_replicas > 1


def _addresses(document: Mapping[str, Any]) -> list[str]:
    return listening_addresses(str(document["http_options"]["host"]))


@contextmanager
def _watched(service: ServiceInstance) -> Iterator[None]:
    """Start a process that calls `end` for the service when this process ends or is killed.

    The kernel closes the pipe between them when this process ends, also if it is killed.
    """
    command = [sys.executable, "-m", "deployments.launch.services.instances", service.mark]
    watcher = subprocess.Popen(  # noqa: S603 - nothing in it comes from a client
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
    )
    with watcher:  # closes the pipe, and waits
        yield


def serve_command(config: Path) -> list[str]:
    """Return the command that serves a configuration in a Ray of its own.

    Without ``local``, Ray would join the cluster that `ray start` has started last on this machine,
    also if it has been killed since: its address stays in a file.
    """
    return [sys.executable, "-m", "ray.serve.scripts", "run", "--address", "local", str(config)]


def _run(
    document: Mapping[str, Any],
    service: ServiceInstance,
    environment: Mapping[str, str],
    output: OutputLog,
) -> subprocess.Popen[bytes]:
    """Start `serve run` in a separate session, so that only this process receives Ctrl-C."""
    resolved = Path(service.folder, "serve_config.yaml")
    # Ray listens on one address; for a name it would not find one of IPv6.
    options = {**document["http_options"], "host": _addresses(document)[0]}
    hidden = hide_passwords({**document, "http_options": options}, Path(service.folder))
    resolved.write_text(yaml.safe_dump(hidden, sort_keys=False))
    process = subprocess.Popen(  # noqa: S603 - nothing in it comes from a client
        serve_command(resolved),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        umask=0o077,
    )
    assert process.stdout is not None
    output.keep(process.stdout)
    Path(service.folder, SESSION_FILE).write_text(str(process.pid))
    return process
