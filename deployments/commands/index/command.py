"""``embedder index``: the collections of the running service, or those of a stored index."""

from __future__ import annotations

from deployments.commands.arguments import Commands, add_service
from deployments.commands.index.backups import add_backups
from deployments.commands.index.checks import add_checks
from deployments.commands.index.copies import add_copy
from deployments.commands.index.reading import add_reading
from deployments.commands.index.reembed import add_reembed
from deployments.commands.index.writing import add_writing


def add(commands: Commands) -> None:
    """Add the command with its actions."""
    index = commands.add_parser("index", help="list, fill, search, back up or delete collections")
    actions = index.add_subparsers(required=True)
    add_reading(actions)
    add_writing(actions)
    add_reembed(actions)
    add_backups(actions)
    for action in actions.choices.values():
        add_service(action)
    add_checks(actions)
    add_copy(actions)
