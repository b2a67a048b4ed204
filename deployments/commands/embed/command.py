"""``embedder embed``: embeds texts, or the rows of a file, in this process or by a service."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import orjson

from deployments.commands.arguments import Commands, add_command, add_settings, load_settings
from deployments.commands.embed.embedding import Embed, RefusedText
from deployments.commands.embed.input_rows import InputFile, InputFormat
from deployments.commands.embed.models import Options, in_process, of_service
from deployments.commands.embed.outputs import suffixes
from deployments.commands.embed.rate import Rate
from deployments.commands.embed.run import RunOptions, check_run
from deployments.commands.embed.run import run as run_all
from embedder.core.errors import InvalidInput
from embedder.core.types import InputType

KEY_VARIABLE = "EMBEDDER_API_KEY"
"""The variable that has the key of a service; a key among the arguments would be seen by all."""

SOME_FAILED = 3
"""The exit status of a run whose output lacks rows that have no vector."""

DESCRIPTION = f"""Embed texts, one JSON list a line; or the rows of a file, with --output.

  embedder embed "hello world"
  embedder embed --input texts.csv --column body --output vectors.parquet
  embedder embed --input texts.jsonl.gz --output vectors.npy --url http://127.0.0.1:8000

A run with --output that is interrupted continues when the same command is run again. Rows without
a vector are in OUTPUT.failed.jsonl, each with the reason; then the exit status is {SOME_FAILED}.
{KEY_VARIABLE} has the key of the service of --url."""


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    embed = add_command(commands, "embed", run, "embed texts or files", DESCRIPTION)
    embed.formatter_class = argparse.RawDescriptionHelpFormatter
    embed.add_argument("texts", nargs="*", help="texts; without any, the lines of stdin")
    embed.add_argument("--input", type=Path, help="a file of rows; -: stdin")
    embed.add_argument(
        "--format",
        choices=get_args(InputFormat),
        help="of the input; default: by its suffix, of stdin text",
    )
    embed.add_argument("--column", default="text", help="the field that has the text (text)")
    embed.add_argument(
        "--keep", metavar="NAMES", help="fields of the input in the output, like id,title (all)"
    )
    embed.add_argument(
        "--output", type=Path, help=f"a file whose suffix is one of {', '.join(suffixes())}"
    )
    embed.add_argument("--restart", action="store_true", help="do not continue an earlier run")
    embed.add_argument("--overwrite", action="store_true", help="replace an existing output")
    embed.add_argument("--json", action="store_true", help="print the result of a run as JSON")
    embed.add_argument(
        "--as", dest="kind", choices=[kind.value for kind in InputType], help="which prompt to use"
    )
    embed.add_argument(
        "--dimensions", type=int, help="keep this many components, if the model allows it"
    )
    embed.add_argument("--url", help="of a service with OpenAI's API, in place of this process")
    add_settings(embed)


def run(options: argparse.Namespace) -> int:
    """Embed what the arguments name; return `SOME_FAILED` if rows have no vector."""
    if options.output is None:
        if options.input is not None:
            raise InvalidInput("--input", "needs --output, a file for the vectors")
        return _print(options)
    if options.texts:
        raise InvalidInput("--output", "needs --input, a file, in place of texts")
    return _run(options)


def _run(options: argparse.Namespace) -> int:
    source = InputFile(options.input or Path("-"), options.format, options.column)
    kept = None if options.keep is None else [name for name in options.keep.split(",") if name]
    wanted = RunOptions(
        options.output, {}, kept, restart=options.restart, overwrite=options.overwrite
    )
    check_run(wanted)
    with _model(options) as (embed, model), Rate() as rate:
        description = {
            **model,
            "column": options.column,
            "input type": options.kind,
            "dimensions": options.dimensions,
        }
        wanted = replace(wanted, description=description)
        result = run_all(source, embed, wanted, rate.report)
    if options.json:
        answer = {
            "output": str(wanted.output),
            "rows": result.rows,
            "failed": result.failed,
            "resumed": result.resumed,
            "failures": str(wanted.failures) if result.failed else None,
        }
        print(orjson.dumps(answer).decode())
    else:
        print(f"{result.rows:,} vectors are in {wanted.output}")
        if result.failed:
            print(f"{result.failed:,} rows have none: {wanted.failures}", file=sys.stderr)
    return SOME_FAILED if result.failed else 0


def _print(options: argparse.Namespace) -> int:
    """Print a JSON list for every text, in order; show progress if stderr is a terminal."""
    if options.url is None:
        _print_stream(options)
        return 0
    texts = options.texts or [line.rstrip("\n") for line in sys.stdin]
    with _model(options) as (embed, _):
        try:
            vectors = embed(texts)
        except RefusedText as error:
            raise InvalidInput(f"input[{error.position}]", str(error)) from None
    for vector in vectors:
        print(orjson.dumps(vector, option=orjson.OPT_SERIALIZE_NUMPY).decode())
    return 0


def _print_stream(options: argparse.Namespace) -> None:
    from embedder.core.request import EmbedOptions
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


def _model(
    options: argparse.Namespace,
) -> AbstractContextManager[tuple[Embed, dict[str, Any]]]:
    of_all = Options(options.kind, options.dimensions)
    if options.url is not None:
        return of_service(options.url, os.environ.get(KEY_VARIABLE), options.model, of_all)
    return in_process(load_settings(options).settings, of_all)
