"""``embedder config``: the effective settings, each with its source."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any

from deployments.commands.arguments import Commands, add_command, add_config
from deployments.commands.models import print_table
from deployments.launch.model_list import MODEL_SETTINGS
from deployments.launch.preflight import check_contents, load_applications, read_config
from deployments.settings.models import ModelList
from deployments.settings.service import ServeSettings
from embedder.settings.sources import explain
from embedder.settings.tree import Settings

USED_WITH_POOLS = ("encoder.placement", "encoder.pools")
"""The settings of the encoder that are not stated for each pool."""


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    config = add_command(
        commands, "config", run, "check a configuration, and print every setting with its source"
    )
    add_config(config)
    config.add_argument("--describe", action="store_true", help="explain each setting")


def run(options: argparse.Namespace) -> None:
    """Print one line a setting: path, value, source."""
    document = read_config(options.config)
    check_contents(document, fetch=False)
    for name, loaded, models in load_applications(document):
        print(f"# application {name}")
        unused = _without_effect(loaded.settings, models)
        print_table(
            [
                (place, _shown(value), f"({origin})", description if options.describe else "")
                for path, values, origin, description in explain(loaded)
                if not path.startswith(unused) or path in USED_WITH_POOLS
                for place, value in _entries(path, values)
            ]
        )
        print("# models, from user_config or from the settings above")
        for model in models.models:
            print(model.model_dump_json(exclude_defaults=True))


def _without_effect(settings: ServeSettings, models: ModelList) -> tuple[str, ...]:
    """Return the beginnings of the settings whose place others take."""
    listed = () if models == settings.served else MODEL_SETTINGS
    return (*listed, "encoder.") if settings.encoder.pools else listed


def _entries(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield a list of sections entry by entry, and any other setting as it is."""
    if isinstance(value, tuple) and value and all(isinstance(one, Settings) for one in value):
        for number, entry in enumerate(value):
            yield f"{path}.{number}", entry.model_dump(mode="json", exclude_defaults=True)
    else:
        yield path, value


def _shown(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)
