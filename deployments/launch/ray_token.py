"""The token that programs need to connect to Ray, in a file that only its user can read.

It is made before Ray starts, because Ray would make a file that every user can read.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from embedder.core.errors import ConfigurationError
from embedder.index.storage.disk.atomic_files import write_once

MODE, TOKEN, PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
"""Variables of Ray: whether a token is required, the token, and the path of its file."""


def make_token(environment: Mapping[str, str]) -> None:
    """Make a token unless there is one, and restrict its file to this user.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    path = stored_token(environment)
    if path is None:
        return
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_once(path, secrets.token_hex(32).encode())
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
    except OSError as error:
        raise ConfigurationError(
            f"Ray's token cannot be written to {path}: {error.strerror}; set {PATH} to the path of "
            "a file that can be written"
        ) from None


def stored_token(environment: Mapping[str, str]) -> Path | None:
    """Return the path of the token's file; None if Ray requires none, or a variable holds it."""
    if environment.get(MODE, "token").lower() != "token" or environment.get(TOKEN):
        return None
    return token_file(environment).absolute()


def token_file(environment: Mapping[str, str]) -> Path:
    """Return the path of the token's file, which Ray reads unless `TOKEN` is set."""
    stated = environment.get(PATH)
    return Path(stated) if stated else Path.home() / ".ray" / "auth_token"


def show_token(environment: MutableMapping[str, str]) -> None:
    """Make Ray send the token if there is one; call this before Ray is imported.

    Ray does so by itself only if it connects without an address.
    """
    if environment.get(TOKEN) or token_file(environment).is_file():
        environment.setdefault(MODE, "token")
