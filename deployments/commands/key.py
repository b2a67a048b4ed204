"""``embedder key``: makes an API key, and the line of configuration that accepts it."""

from __future__ import annotations

import argparse
import json
import sys

from deployments.commands.arguments import Commands, add_command


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    key = add_command(
        commands,
        "key",
        run,
        "make an API key for clients",
        "Prints on the standard output the line that accepts the key, and the key itself on the "
        "standard error: 'embedder key NAME >> keys.yaml' adds the line to a keys_file.",
    )
    key.add_argument("name", help="of the key, like the team that gets it")
    key.add_argument(
        "--scopes",
        default="read",
        metavar="SCOPE[,SCOPE]",
        help="what the key allows: read, write, admin (default: read)",
    )
    key.add_argument(
        "--collections",
        metavar="NAME[,NAME]",
        help="the collections that the key may reach: names, or beginnings of names followed by *; "
        "'' for none (default: all)",
    )


def run(options: argparse.Namespace) -> None:
    """Print a key, which is stored nowhere, and its digest in the format of ``args:``.

    Raises:
        ConfigurationError: the name, a scope or a collection is not allowed.
    """
    from pydantic import ValidationError

    from deployments.ingress.middleware.keys import digest, new_key
    from deployments.settings.access import ApiKey
    from embedder.core.errors import ConfigurationError

    key = new_key()
    entry = {
        "name": options.name,
        "sha256": digest(key.encode()),
        "scopes": _listed(options.scopes),
    }
    if options.collections is not None:
        entry["collections"] = _listed(options.collections)
    try:
        ApiKey.model_validate(entry)
    except ValidationError as error:
        problem = error.errors()[0]
        message = problem["msg"].removeprefix("Value error, ")
        raise ConfigurationError(f"{problem['loc'][0]}: {message}") from None
    print(f"# Give this to the client; it is not stored: {key}", file=sys.stderr)
    print("# Add the line to the keys_file, or under keys: in args:", file=sys.stderr, flush=True)
    # Raw characters, because YAML reads the JSON escape of an emoji as two lone surrogates.
    print(f"- {json.dumps(entry, ensure_ascii=False)}")


def _listed(words: str) -> list[str]:
    return [word.strip() for word in words.split(",")] if words.strip() else []
