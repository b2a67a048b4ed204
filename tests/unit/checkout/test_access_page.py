"""What docs/access.md says of keys is what the service does."""

from __future__ import annotations

from pathlib import Path

import yaml

from deployments.settings.access import (
    MAX_KEY_NAME_CHARACTERS,
    MAX_KEYS,
    MAX_PATTERNS,
    ApiKey,
    is_open,
)
from deployments.settings.keys_file import parse_keys
from deployments.settings.service import ServeSettings
from tests.readme import fenced

PAGE = (Path(__file__).parents[3] / "docs" / "access.md").read_text()


def test_the_examples_of_the_keys_file_are_valid() -> None:
    settings, file = fenced(PAGE, "yaml")[:2]
    keys = parse_keys(file.encode(), Path("keys.yaml"))

    assert ServeSettings.model_validate(yaml.safe_load(settings)["args"]).requires_keys
    assert [key.collections for key in keys] == [("search-*", "shared"), None]


def test_the_page_names_every_field_of_a_key_and_its_limits() -> None:
    for name in ApiKey.model_fields:
        assert f"| `{name}` | " in PAGE
    for limit in (
        f"{MAX_KEY_NAME_CHARACTERS} printable",
        f"{MAX_PATTERNS} names",
        f"{MAX_KEYS:,} keys",
    ):
        assert limit in PAGE


def test_the_page_names_every_open_path() -> None:
    sentence = PAGE[PAGE.index("except for the health checks") :].partition("\n\n")[0]
    named = [word.strip("`,.") for word in sentence.split() if word.strip("`,.").startswith("/")]

    assert all(is_open("GET", path) for path in named)
    assert len(set(named)) == 5
