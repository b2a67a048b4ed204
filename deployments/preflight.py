"""What can be known to fail before Ray is started: said at once, rather than after a time-out.

Looks at a Serve configuration file, its arguments for this service, the model and the port.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from deployments.settings import ServeSettings
from embedder.errors import ConfigurationError
from embedder.models.files import ModelFiles

IMPORT_PATH = "deployments.app:build"
DEFAULT_HTTP_OPTIONS = {"host": "127.0.0.1", "port": 8000}


def read_config(path: Path, *, port: int | None = None) -> dict[str, Any]:
    """Return a Serve configuration with its host and port filled in, ``port`` before its own.

    Raises:
        ConfigurationError: it cannot be read, or is no Serve configuration.
    """
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(f"cannot read {path}: {reason}") from error
    if not isinstance(document, dict) or not isinstance(document.get("applications"), list):
        raise ConfigurationError(f"{path} is not a Serve configuration: no list 'applications'")
    options = {**DEFAULT_HTTP_OPTIONS, **(document.get("http_options") or {})}
    if port is not None:
        options["port"] = port
    return {**document, "http_options": options}


def check(document: Mapping[str, Any]) -> None:
    """Refuse what would only fail later.

    Raises:
        ConfigurationError: an argument is unknown or out of its bounds, the model is missing or
            unsafe, or the port is taken.
    """
    for application in document["applications"]:
        if application.get("import_path") == IMPORT_PATH:
            settings = _settings(application.get("args") or {})
            ModelFiles.open(settings.model)
    _check_port(**{key: document["http_options"][key] for key in DEFAULT_HTTP_OPTIONS})


def _settings(arguments: Any) -> ServeSettings:
    try:
        return ServeSettings.model_validate(arguments)
    except ValidationError as error:
        problems = [
            f"  args.{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
            + (f" (it is {problem['input']!r})" if problem["type"] != "extra_forbidden" else "")
            for problem in error.errors()
        ]
        raise ConfigurationError("the configuration is wrong:\n" + "\n".join(problems)) from error


def _check_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        # As the server will: a port that is only waiting out its last connection is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            raise ConfigurationError(
                f"cannot listen on {host}:{port}: {error}; choose another with --port"
            ) from error
