"""Code in docs/ runs, configurations are valid, and named commands, routes and files exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
import yaml

from deployments.cli import main
from deployments.ingress.asgi import ROUTES
from deployments.ingress.description.reference import errors_table, limits_table, metrics_tables
from deployments.settings.models import ModelList
from deployments.settings.service import ServeSettings
from embedder.models.catalogue import CATALOGUE
from embedder.settings.model import BackendSettings, DtypeName
from embedder.settings.presets import PRESETS
from tests.readme import fenced, run_block

ROOT = Path(__file__).parents[3]
PAGES = sorted((ROOT / "docs").glob("*.md"))
MODELS = next(page for page in PAGES if page.name == "models.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_python_block_prints_its_documented_output(
    page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for block in fenced(page.read_text(), "python"):
        run_block(block)

        assert capsys.readouterr().out.strip() == block.rpartition("# ")[2].strip()


def test_the_list_of_models_is_valid_for_the_deployments() -> None:
    (block,) = fenced(MODELS, "yaml")
    deployments = yaml.safe_load(block)["deployments"]
    lists = [ModelList.model_validate(one["user_config"]) for one in deployments]

    assert sorted(one["name"] for one in deployments) == sorted(ServeSettings().model_deployments)
    assert lists[0] == lists[1] == lists[2]


def test_the_page_names_every_backend_number_format_and_preset() -> None:
    backends = get_args(BackendSettings.model_fields["name"].annotation)

    missing = [
        name for name in (*backends, *get_args(DtypeName), *PRESETS) if f"`{name}`" not in MODELS
    ]

    assert len(backends) == 4
    assert missing == []
    assert f"{len(CATALOGUE)} models" in MODELS


def test_every_named_command_exists(
    capsys: pytest.CaptureFixture[str],
) -> None:
    named = set(re.findall(r"(?:`|\$ (?:\S+=\S+ )?)embedder (\w+)", MODELS))
    with pytest.raises(SystemExit):
        main(["--help"])
    known = re.search(r"\{([\w,]+)\}", capsys.readouterr().out)

    assert known is not None
    assert named <= set(known[1].split(","))


def test_the_tables_of_limits_errors_and_metrics_equal_the_code() -> None:
    page = next(page for page in PAGES if page.name == "api.md").read_text()

    assert limits_table() in page
    assert errors_table() in page
    assert metrics_tables() in (ROOT / "docs" / "metrics.md").read_text()


def test_the_page_of_the_api_names_every_route() -> None:
    page = next(page for page in PAGES if page.name == "api.md").read_text()
    paths = [route.path for route in ROUTES]
    described = [path for path in paths if not path.startswith(("/docs", "/openapi"))]
    ends = {re.sub(r"^/v1/collections(/\{name\})?|\{.*", "", path) for path in described}

    assert {end for end in ends if end.rstrip("/") not in page} == set()


def test_every_file_that_the_tree_names_exists() -> None:
    (tree,) = fenced((ROOT / "docs" / "structure.md").read_text(), "")
    folders: list[Path] = []
    named = []
    for line in tree.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        inside = folders[:depth]
        for word in re.findall(r"[\w.]+(?:\.py|\.md|/)(?![\w(])", line):
            named.append(Path(*inside, word))
            if inside == folders[:depth] and word.endswith("/"):
                inside = [*inside, Path(word)]
        folders = inside

    assert len(named) > 60
    assert [path for path in named if not (ROOT / path).exists()] == []
