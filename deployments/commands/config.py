"""``embedder config``: the effective settings, each with its source."""

from __future__ import annotations

import argparse
import json
from typing import Any

from deployments.commands.arguments import Commands, add_command, add_config
from deployments.commands.models import print_table
from deployments.launch.model_list import MODEL_SETTINGS
from deployments.launch.preflight import check_contents, load_applications, read_config
from embedder.settings.sources import explain


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
        rows = [
            (path, _shown(value), f"({origin})", description if options.describe else "")
            for path, value, origin, description in explain(loaded)
            if not path.startswith(MODEL_SETTINGS) or models == loaded.settings.served
        ]
        print_table(rows)
        print("# models, from user_config or from the settings above")
        for model in models.models:
            print(model.model_dump_json(exclude_defaults=True))


def _shown(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)
