"""Starts the service on this machine in a child process with Ray.

The child is `serve run`, as an operator could run it, with the environment that Ray must have
before it starts. If this process is killed, a second child ends all processes of the service.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
from deployments.launch.service_process import ServiceProcess
from deployments.launch.services.announcement import announce
from deployments.launch.services.instances import (
    SESSION_FILE,
    ServiceInstance,
    remove_folders,
    services,
)
from deployments.launch.sizing import ClusterResources, resolve_auto
from deployments.launch.tls.certificate import CERTIFICATE_VARIABLE, Certificate, without_tls
from deployments.launch.tls.checks import check_options
from deployments.logs.output_log import OutputLog, opened_log
from deployments.settings.service import ServeSettings
from embedder.measurements.host import usable_cores


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
    document = read_config(config, host=host, port=port)
    certificate = _prepared(document, tuned)
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
            certificate=certificate,
            replays=any(map(_has_several_ingresses, settings)),
        )
        has_keys = all(application.requires_keys for application in settings)
        with _watched(service), opened_log(log, environment, service.folder) as output:
            process = _run(document, service, environment, output)
            launch = ServiceProcess(process, service, url, log, has_keys, output)
            try:
                yield launch
            finally:
                launch.stop()


def _prepared(document: Mapping[str, Any], tuned: bool) -> Certificate | None:
    """Check a configuration, make Ray's token, and return the certificate that HAProxy needs."""
    if tuned:
        check_temporary_folder()
    certificate = check_options(document["http_options"], haproxy=tuned)
    check(document)
    make_token(os.environ)
    remove_folders()
    return certificate if tuned else None


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
    if environment.get(CERTIFICATE_VARIABLE):
        document = without_tls(document)  # HAProxy has the certificate
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
