"""``embedder reference``: prints the tables of limits, errors and metrics that docs/ holds."""

from __future__ import annotations

import argparse

from deployments.commands.arguments import Commands, add_command


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    add_command(
        commands, "reference", run, "print every limit of a request, every error, and every metric"
    )


def run(options: argparse.Namespace) -> None:
    """Print the tables in Markdown."""
    from deployments.ingress.description.reference import (
        errors_table,
        limits_table,
        metrics_tables,
    )

    print(f"{limits_table()}\n\n{errors_table()}\n\n{metrics_tables()}")
