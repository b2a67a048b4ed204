"""``embedder embed``: embeds texts in this process, without a server."""

from __future__ import annotations

import argparse
import sys

import orjson

from deployments.commands.arguments import Commands, add_command, add_settings, load_settings
from embedder.core.request import EmbedOptions
from embedder.core.types import InputType


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    embed = add_command(commands, "embed", run, "embed texts in this process, one JSON list a line")
    embed.add_argument("texts", nargs="*", help="texts; without any, the lines of stdin")
    embed.add_argument(
        "--as", dest="kind", choices=[kind.value for kind in InputType], help="which prompt to use"
    )
    embed.add_argument(
        "--dimensions", type=int, help="keep this many components, if the model allows it"
    )
    add_settings(embed)


def run(options: argparse.Namespace) -> None:
    """Print a JSON list for every text, in order; show progress if stderr is a terminal."""
    from embedder.generator import EmbeddingGenerator

    embed_options = EmbedOptions(
        input_type=InputType(options.kind) if options.kind else None, dimensions=options.dimensions
    )
    texts = options.texts or (line.rstrip("\n") for line in sys.stdin)
    # Vectors printed on the same terminal would break up the progress bar.
    progress = sys.stderr.isatty() and not sys.stdout.isatty()
    with EmbeddingGenerator(settings=load_settings(options).settings) as generator:
        for vector in generator.embed_stream(texts, embed_options, show_progress=progress):
            print(orjson.dumps(vector, option=orjson.OPT_SERIALIZE_NUMPY).decode())
