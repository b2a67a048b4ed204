"""``embedder reference``: prints the tables of limits, errors and metrics that docs/ holds."""

from __future__ import annotations

import argparse

from deployments.commands.arguments import Commands


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    reference = commands.add_parser(
        "reference", help="print every limit of a request, every error, and every metric"
    )
    reference.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the tables in Markdown."""
    from deployments.ingress.description.reference import (
        errors_table,
        limits_table,
        metrics_table,
    )

    print(f"{limits_table()}\n\n{errors_table()}\n\n{metrics_table()}")
    return 0
