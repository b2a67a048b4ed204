"""``embedder key``: makes an API key, and the lines of configuration that accept it."""

from __future__ import annotations

import argparse
import json

from deployments.commands.arguments import Commands, add_command


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    key = add_command(commands, "key", run, "make an API key for clients")
    key.add_argument("name", help="of the key, like the team that gets it")
    key.add_argument(
        "--scopes",
        default="read",
        metavar="SCOPE[,SCOPE]",
        help="what the key allows: read, write, admin (default: read)",
    )


def run(options: argparse.Namespace) -> None:
    """Print a key, which is stored nowhere, and its digest in the format of ``args:``."""
    from pydantic import ValidationError

    from deployments.ingress.middleware.keys import digest, new_key
    from deployments.settings.access import ApiKey
    from embedder.core.errors import ConfigurationError

    key = new_key()
    scopes = [scope.strip() for scope in options.scopes.split(",")]
    entry = {"name": options.name, "sha256": digest(key.encode()), "scopes": scopes}
    try:
        ApiKey.model_validate(entry)
    except ValidationError as error:
        problem = error.errors()[0]
        raise ConfigurationError(f"{problem['loc'][0]}: {problem['msg']}") from None
    print(f"# Give this to the client; it is not stored: {key}")
    print("# Add this to args: in serve_config.yaml, under keys:")
    print(f"- {json.dumps(entry)}")
