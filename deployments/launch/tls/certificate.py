"""The files of the certificate for clients, as options or variables name them.

`http_options` of a Serve configuration names both files, as Serve itself has them. HAProxy finds
them by `CERTIFICATE_VARIABLE` and `KEY_VARIABLE`, because Ray passes it no setting for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedder.core.errors import ConfigurationError

CERTIFICATE_VARIABLE, KEY_VARIABLE = "SERVICE_TLS_CERTIFICATE", "SERVICE_TLS_KEY"
NO_TLS = {CERTIFICATE_VARIABLE: "", KEY_VARIABLE: ""}

CERTIFICATE_OPTION, KEY_OPTION = "ssl_certfile", "ssl_keyfile"
PASSWORD_OPTION = "ssl_keyfile_password"  # noqa: S105 - the name of an option
UVICORN_OPTIONS = (PASSWORD_OPTION, "ssl_ca_certs")
OPTIONS = (CERTIFICATE_OPTION, KEY_OPTION, *UVICORN_OPTIONS)
"""The options of Serve for TLS; `UVICORN_OPTIONS` have no meaning for HAProxy."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """The two files in PEM: the certificate before those of its issuers, and the private key."""

    certificate: Path
    key: Path
    password: str | None = None

    @classmethod
    def of_options(cls, options: Mapping[str, Any]) -> Certificate | None:
        """Return the files of ``http_options``; None without TLS.

        Raises:
            ConfigurationError: one is given without the other, a path is relative, or the password
                is no text.
        """
        given = {name: options.get(name) for name in OPTIONS}
        names = f"http_options.{CERTIFICATE_OPTION}", f"http_options.{KEY_OPTION}"
        files = _of(given[CERTIFICATE_OPTION], given[KEY_OPTION], names)
        if files is None:
            unused = [name for name, value in given.items() if value is not None]
            if unused:
                raise ConfigurationError(f"http_options.{unused[0]} is set, but {names[0]} is not")
            return None
        password = given[PASSWORD_OPTION]
        if not isinstance(password, str | None):
            raise ConfigurationError(
                f"http_options.{PASSWORD_OPTION} must be a text: put it in quotes"
            )
        return cls(*files, password)

    @classmethod
    def of_environment(cls, environment: Mapping[str, str]) -> Certificate | None:
        """Return the files that the variables name; None without TLS.

        Raises:
            ConfigurationError: one is set without the other, or a path is relative.
        """
        names = CERTIFICATE_VARIABLE, KEY_VARIABLE
        files = _of(environment.get(names[0]), environment.get(names[1]), names)
        return None if files is None else cls(*files)

    @property
    def variables(self) -> Mapping[str, str]:
        """Return the variables by which HAProxy finds the files."""
        return {CERTIFICATE_VARIABLE: str(self.certificate), KEY_VARIABLE: str(self.key)}


def without_tls(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a Serve configuration whose ingress replicas answer HAProxy without TLS."""
    given: Mapping[str, Any] = document["http_options"]
    options = {name: value for name, value in given.items() if name not in OPTIONS}
    return {**document, "http_options": options}


def _of(certificate: Any, key: Any, names: tuple[str, str]) -> tuple[Path, Path] | None:
    if not certificate and not key:
        return None
    files = []
    for name, value in zip(names, (certificate, key), strict=True):
        if not value:
            raise ConfigurationError(f"{name} is missing: a certificate needs its private key")
        if not str(value).startswith("/"):
            raise ConfigurationError(f"{name} is {value!r}: must be an absolute path")
        files.append(Path(value))
    return files[0], files[1]
