"""``embedder index reembed``: embed the texts of a collection again, with another model."""

from __future__ import annotations

import argparse
import asyncio

from deployments.commands.arguments import Commands, add_command
from deployments.commands.connecting import connected
from deployments.commands.progress import bar


def add_reembed(actions: Commands) -> None:
    """Add the command."""
    reembed = add_command(
        actions,
        "reembed",
        _reembed,
        "embed the texts of a collection again, with another model",
        description="Embed the texts of a collection again, with another model. Searches use the "
        "old vectors until all new ones are stored, and writes go on until shortly before that. "
        "If interrupted, run the same command again to continue.",
    )
    reembed.add_argument("name")
    reembed.add_argument("--model", help="a served model; default: the first one")
    reembed.add_argument(
        "--drop-without-text", action="store_true", help="leave out points that have no text"
    )
    reembed.add_argument(
        "--abandon", action="store_true", help="delete the new vectors, and keep the old ones"
    )


def _reembed(options: argparse.Namespace) -> None:
    with connected(options) as service:
        from deployments.operations.reembedding import CollectionReembedding

        reembedding = CollectionReembedding(service)
        if options.abandon:
            asyncio.run(reembedding.abandon(options.name))
            print(f"{options.name} keeps its present vectors")
            return
        with bar(None, " points") as progress:
            dropping = options.drop_without_text
            info = asyncio.run(
                reembedding.reembed(options.name, options.model, progress, dropping=dropping)
            )
    print(f"{info.name} has {info.count:,} points, of model {info.stored}")
