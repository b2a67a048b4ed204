"""The token that programs need to connect to Ray: made before Ray starts, for its user alone.

Ray itself would make a file that every user can read.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from embedder.core.errors import ConfigurationError

MODE, TOKEN, PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
"""The variables of Ray: whether a token is wanted, the token itself, the file that holds it."""


def make_token(environment: Mapping[str, str]) -> None:
    """Make the token of this environment unless there is one, and close its file to other users.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    if environment.get(MODE, "token").lower() != "token" or environment.get(TOKEN):
        return
    path = token_file(environment)
    try:
        if path.exists():
            if path.stat().st_mode & 0o077:
                path.chmod(0o600)
            return
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
    except OSError as error:
        raise ConfigurationError(
            f"Ray's token cannot be kept in {path}: {error.strerror}; name a file that can be "
            f"written in the variable {PATH}"
        ) from None


def token_file(environment: Mapping[str, str]) -> Path:
    """Return the path of the file that holds the token, unless `TOKEN` does."""
    stated = environment.get(PATH)
    return Path(stated) if stated else Path.home() / ".ray" / "auth_token"


def show_token(environment: MutableMapping[str, str]) -> None:
    """Let Ray show the token where there is one; it reads this when it is imported.

    Ray does so by itself only where it finds the cluster without an address.
    """
    if environment.get(TOKEN) or token_file(environment).is_file():
        environment.setdefault(MODE, "token")
