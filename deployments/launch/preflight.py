"""Checks before Ray starts, so that a wrong configuration fails at once and not by a timeout.

Checks a Serve configuration file, its arguments for this service, the models, the data folders and
the port.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ValidationError

from deployments.data import check_data, data_directory
from deployments.launch.database.checking import check_index_database
from deployments.launch.exposure import is_loopback, listening_addresses, with_port
from deployments.launch.model_list import listed_models
from deployments.launch.ports import listener
from deployments.launch.services.instances import services
from deployments.launch.tls.certificate import CERTIFICATE_OPTION, Certificate
from deployments.settings.keys_file import check_keys_file
from deployments.settings.models import ModelList
from deployments.settings.service import ServeSettings
from deployments.tracing.configuration import check_tracing, with_exporter
from embedder.core.errors import ConfigurationError
from embedder.models.files import ModelFiles
from embedder.models.weights import is_remote
from embedder.settings.sources import LoadedSettings, load

IMPORT_PATH = "deployments.app:build"
AUTOSCALING = {"policy_function": "deployments.autoscaling.application:ApplicationScaling"}
"""The policy of an application that names none: Serve's own does not know its load."""

DEFAULT_HTTP_OPTIONS = {"host": "127.0.0.1", "port": 8000}

DEFAULT_LOGGING = {"enable_access_log": False}
"""Serve's access log has a line for each request and each call between replicas."""


class _Application(BaseModel):
    args: dict[str, Any] | None = None
    deployments: list[dict[str, Any]] | None = None


class _Logging(BaseModel):
    encoding: Literal["TEXT", "JSON"] = "TEXT"


class _Configuration(BaseModel):
    """The types of the parts that the checks read; Ray checks the others."""

    applications: list[_Application]
    http_options: dict[str, Any] | None = None
    tracing_config: dict[str, Any] | None = None
    logging_config: _Logging | None = None


def read_config(path: Path, *, host: str | None = None, port: int | None = None) -> dict[str, Any]:
    """Return a Serve configuration with host, port, logging and autoscaling policy filled in.

    ``host`` and ``port`` override its own.

    Raises:
        ConfigurationError: the file cannot be read, or is not a Serve configuration.
    """
    try:
        document = yaml.safe_load(path.read_bytes())
        _Configuration.model_validate(document)
    except (OSError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(f"cannot read {path}: {reason}") from error
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"])) or "its content"
        raise ConfigurationError(
            f"{path} is not a Serve configuration: {place}: {problem['msg']}"
        ) from error
    if tracing := document.get("tracing_config"):
        document["tracing_config"] = with_exporter(tracing)
    given = {"host": host, "port": port}
    options = {
        **DEFAULT_HTTP_OPTIONS,
        **(document.get("http_options") or {}),
        **{name: value for name, value in given.items() if value is not None},
    }
    applications = [
        {"autoscaling_policy": AUTOSCALING, **entry}
        if entry.get("import_path") == IMPORT_PATH
        else entry
        for entry in document["applications"]
    ]
    return {
        **document,
        "http_options": options,
        "logging_config": {**DEFAULT_LOGGING, **(document.get("logging_config") or {})},
        "applications": applications,
    }


def base_url(document: Mapping[str, Any]) -> str:
    """Return the URL under which the routes of this service are."""
    host, port = (document["http_options"][key] for key in DEFAULT_HTTP_OPTIONS)
    prefixes = [str(one.get("route_prefix") or "/") for one in _applications(document)] or ["/"]
    scheme = "https" if document["http_options"].get(CERTIFICATE_OPTION) else "http"
    return f"{scheme}://{with_port(str(host), port)}{prefixes[0].rstrip('/')}"


def check(document: Mapping[str, Any]) -> None:
    """Check a configuration, its data folder and its port on this machine.

    Raises:
        ConfigurationError: as `check_contents`; or the data folder cannot be written, the port is
            in use, or another service uses one of the two.
        EmbedderError: as `check_index_database`.
    """
    check_contents(document)
    options = document["http_options"]
    for _, loaded, _ in load_applications(document):
        check_keys_file(loaded.settings, required=True)
        _check_other_services(options["port"], data_directory(loaded.settings))
        check_data(loaded.settings)
        check_index_database(loaded.settings)
    for address in listening_addresses(str(options["host"])):
        _check_port(address, options["port"])


def check_contents(document: Mapping[str, Any], *, fetch: bool = True) -> None:
    """Check a configuration independently of this machine's ports and data.

    A ``keys_file`` is checked if it is on this machine, which may not be one that serves. With
    ``fetch``, missing models are downloaded from the hub. Without it, only models that must be on
    this machine are checked.

    Raises:
        ConfigurationError: an argument is unknown or out of its bounds, a model is missing or
            unsafe, the keys file cannot be used, a certificate has no key, the service would be
            open to the network without keys, or traces cannot be sent.
    """
    check_exposure(document)
    Certificate.of_options(document["http_options"])
    if tracing := document.get("tracing_config"):
        check_tracing(tracing)
    for _, loaded, models in load_applications(document):
        check_keys_file(loaded.settings)
        for model in models.models:
            if fetch or not is_remote(model):
                ModelFiles.open(model)


def check_exposure(document: Mapping[str, Any]) -> None:
    """Check that a service without API keys listens on this machine only.

    Raises:
        ConfigurationError: it would listen on the network.
    """
    host = str(document["http_options"]["host"])
    if is_loopback(host):
        return
    for name, loaded, _ in load_applications(document):
        if not loaded.settings.requires_keys:
            raise ConfigurationError(
                f"http_options.host is {host} and application {name} has no keys: any program "
                f"could call it. Make a key with 'embedder key NAME', or listen on 127.0.0.1"
            )


MAX_TEMPORARY_FOLDER = 9
"""Bytes in the path of the temporary folder. HAProxy's sockets are in ``embedder-…/NODE/`` there,
which adds 88 bytes with Ray's id of the node; the path of a socket may have 97.
"""


def check_temporary_folder() -> None:
    """Check that the temporary folder has a path that leaves room for HAProxy's sockets.

    Raises:
        ConfigurationError: the path has more than `MAX_TEMPORARY_FOLDER` bytes.
    """
    folder = tempfile.gettempdir()
    if len(os.fsencode(folder)) > MAX_TEMPORARY_FOLDER:
        raise ConfigurationError(
            f"the temporary folder is {folder}: for HAProxy's sockets its path may have at most "
            f"{MAX_TEMPORARY_FOLDER} bytes; set TMPDIR=/tmp, or leave HAProxy out with --plain"
        )


def load_applications(
    document: Mapping[str, Any],
) -> Iterator[tuple[str, LoadedSettings[ServeSettings], ModelList]]:
    """Yield the name, settings and served models of every application of this service.

    Raises:
        ConfigurationError: a setting is unknown or out of its bounds, or no pool has a model.
    """
    for application in _applications(document):
        loaded = load_arguments(application.get("args") or {})
        yield application.get("name", "default"), loaded, listed_models(application, loaded)


def _applications(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the applications of this service; a configuration may also have others."""
    applications: list[Mapping[str, Any]] = document["applications"]
    return [entry for entry in applications if entry.get("import_path") == IMPORT_PATH]


def load_arguments(arguments: Mapping[str, Any]) -> LoadedSettings[ServeSettings]:
    """Return the service's settings; environment variables override ``args``.

    Raises:
        ConfigurationError: a setting is unknown or out of its bounds.
    """
    try:
        return load(ServeSettings, environment=os.environ, file=arguments)
    except ConfigurationError as error:
        raise ConfigurationError(f"the configuration is wrong:\n{error}") from None


def _check_other_services(port: int, directory: Path | None) -> None:
    """Refuse a port or a data folder that another service uses."""
    for other in services():
        same_data = directory is not None and other.data_directory == str(directory)
        if same_data or other.port == port:
            raise ConfigurationError(
                f"another service uses the same port or data ({other}): end it with 'embedder stop "
                f"--address {other.description.url}', or choose another port and another "
                "data_directory"
            )


def _check_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            # As the server does: a port in the state TIME_WAIT counts as free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, OverflowError, TypeError) as error:
        holder = listener(port)
        used_by = "" if holder is None else f", where {holder} listens"
        raise ConfigurationError(
            f"cannot listen on {with_port(host, port)}{used_by}: {error}; choose another with "
            "--port"
        ) from error
