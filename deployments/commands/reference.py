"""``embedder reference``: the tables of limits and errors, as docs/api.md has them."""

from __future__ import annotations

import argparse

from deployments.commands.arguments import Commands


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    reference = commands.add_parser(
        "reference", help="print every limit of a request, and every error"
    )
    reference.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print both tables in Markdown."""
    from deployments.ingress.description.reference import errors_table, limits_table

    print(f"{limits_table()}\n\n{errors_table()}")
    return 0
