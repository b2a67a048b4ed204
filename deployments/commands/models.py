"""``embedder models``: prints the catalogue as a table."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict

import orjson

from deployments.commands.arguments import Commands, add_command
from embedder.models.catalogue import CATALOGUE
from embedder.models.catalogue_row import CatalogueRow

COLUMNS = ("alias", "width", "tokens", "pooling", "params", "prompts", "matryoshka", "licence")


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    models = add_command(commands, "models", run, "list the models of the catalogue")
    models.add_argument("--json", action="store_true", help="everything, as JSON")


def run(options: argparse.Namespace) -> None:
    """Print the catalogue."""
    if options.json:
        rows = [{"alias": row.alias, **asdict(row)} for row in CATALOGUE]
        print(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode())
        return
    print_table([COLUMNS, *map(_cells, CATALOGUE)])
    print("\nAny directory in the layout of sentence-transformers works too, and any repository")
    print("whose commit you name: model.name and model.revision (see embedder config).")


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print a line for each row, with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join(cells).rstrip())


def _cells(row: CatalogueRow) -> tuple[str, ...]:
    widths = row.matryoshka
    # A model with many widths allows every width between the ends.
    trained = f"{widths[0]}…{widths[-1]}" if len(widths) > 8 else ",".join(map(str, widths))
    return (
        row.alias,
        str(row.width),
        str(row.max_tokens),
        row.pooling,
        f"{row.parameters / 1e6:.0f} M",
        ",".join(name for name, _ in row.prompts) or "-",
        trained or "-",
        row.licence,
    )
