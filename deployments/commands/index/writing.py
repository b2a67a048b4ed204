"""``embedder index create``, ``add`` and ``delete``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from deployments.commands.arguments import Commands, add_command
from deployments.commands.connecting import operate
from deployments.commands.lines import numbered_lines
from deployments.commands.progress import bar
from embedder.core.deadline import NEVER
from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.points import Metric, Spec


def add_writing(actions: Commands) -> None:
    """Add the commands that create, fill and delete a collection."""
    create = add_command(
        actions, "create", _create, "create a collection, or confirm that it exists"
    )
    create.add_argument("name")
    create.add_argument("--metric", choices=[metric.value for metric in Metric], default="cosine")
    create.add_argument("--kind", choices=[kind.value for kind in IndexKind], default="auto")
    create.add_argument("--width", type=int, help="default: the width of the first vector")
    create.add_argument("--model", help="of its texts; default: the first served model")
    fill = add_command(
        actions,
        "add",
        _add,
        "store the points of a file",
        description="Store the points of a file, and create the collection if it does not exist. "
        "The command may be interrupted and run again: points that are stored again stay the same.",
    )
    fill.add_argument("name")
    fill.add_argument(
        "file",
        type=Path,
        help=".jsonl[.gz], or -: an object a line with id, text or vector, and metadata",
    )
    delete = add_command(actions, "delete", _delete, "delete a collection with all its points")
    delete.add_argument("name")
    delete.add_argument("--yes", action="store_true", help="do not ask")


def _create(options: argparse.Namespace) -> None:
    kind = IndexKind(options.kind)
    spec = Spec(Metric(options.metric), kind, options.width, options.model)
    info = operate(options, lambda operation: operation.create(options.name, spec))
    print(f"{info.name} exists, with {info.count:,} points")


def _add(options: argparse.Namespace) -> None:
    from deployments.operations.point_lines import read_points

    points = read_points(numbered_lines(options.file))
    with bar(None, " points") as progress:
        count = operate(options, lambda operation: operation.add(options.name, points, progress))
    print(f"{count:,} points are in {options.name}")


def _delete(options: argparse.Namespace) -> int:
    if not options.yes:
        info = operate(options, lambda operation: operation.index.describe(options.name, NEVER))
        if not _confirmed(f"Delete {info.name} with its {info.count:,} points?"):
            print("nothing is deleted; --yes confirms without a question", file=sys.stderr)
            return 1
    operate(options, lambda operation: operation.index.delete(options.name, NEVER))
    print(f"{options.name} is deleted")
    return 0


def _confirmed(question: str) -> bool:
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False
