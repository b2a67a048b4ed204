"""The lists of models that are refused before Ray starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deployments.launch.preflight import check, check_contents, load_applications
from embedder.core.errors import ConfigurationError
from tests.unit.deployments.launch.test_preflight import document


def _with_models(**user_configs: Any) -> dict[str, Any]:
    """Return a configuration whose deployments have these lists of models."""
    configuration = document()
    configuration["applications"][0]["deployments"] = [
        {"name": name, "user_config": user_config} for name, user_config in user_configs.items()
    ]
    return configuration


def _served(configuration: dict[str, Any]) -> list[str]:
    (_, _, models), *_ = load_applications(configuration)
    return [model.name for model in models.models]


def test_the_list_of_models_in_user_config_overrides_the_arguments() -> None:
    models = {"models": [{"name": "all-MiniLM-L6-v2", "alias": "small"}, {"name": "bge-m3"}]}
    configuration = _with_models(Ingress=models, Tokenizer=models, Encoder=models)

    assert _served(configuration) == ["all-MiniLM-L6-v2", "bge-m3"]
    assert _served(document({"model": {"name": "gte-base"}})) == ["gte-base"]


def test_different_lists_of_models_in_the_deployments_are_refused() -> None:
    models = {"models": [{"name": "all-MiniLM-L6-v2"}]}
    other = {"models": [{"name": "all-MiniLM-L12-v2"}]}

    with pytest.raises(ConfigurationError, match="must have the same user_config"):
        check(_with_models(Ingress=models, Encoder=models))
    with pytest.raises(ConfigurationError, match="must have the same user_config"):
        check(_with_models(Ingress=models, Tokenizer=models, Encoder=other))


@pytest.mark.parametrize(
    ("models", "says"),
    [
        ([], "user_config.models: .*at least 1"),
        ([{"nam": "x"}], r"user_config\.models\.0\.nam"),
        ([{"name": "bge-m3"}, {"name": "BAAI/bge-m3"}], "several models are called 'bge-m3'"),
        ([{"name": "all-MiniLM-L6-v2"}, {"name": "no-such-model"}], "no-such-model"),
    ],
)
def test_a_list_of_models_that_cannot_be_served_is_refused(models: Any, says: str) -> None:
    one = {"models": models}

    with pytest.raises(ConfigurationError, match=says):
        check(_with_models(Ingress=one, Tokenizer=one, Encoder=one))


def test_a_variable_without_effect_beside_a_list_of_models_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    models = {"models": [{"name": "all-MiniLM-L6-v2"}]}
    listed = _with_models(Ingress=models, Tokenizer=models, Encoder=models)
    monkeypatch.setenv("EMBEDDER_MODEL__NAME", "bge-m3")

    with pytest.raises(
        ConfigurationError, match=r"EMBEDDER_MODEL__NAME would have no effect.*list"
    ):
        check_contents(listed, fetch=False)
    assert _served(document()) == ["bge-m3"]


@pytest.mark.parametrize("name", ["/no/such/folder", "./no-such-folder", "~/no-such-folder"])
def test_a_missing_model_folder_is_refused_before_any_download(
    name: str,
) -> None:
    with pytest.raises(ConfigurationError, match="no such directory"):
        check_contents(document({"model": {"name": name}}), fetch=False)


def test_a_model_of_the_hub_is_accepted_without_a_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    check_contents(document({"model": {"name": "bge-m3"}}), fetch=False)

    with pytest.raises(ConfigurationError, match="no weights for model 'bge-m3'"):
        check_contents(document({"model": {"name": "bge-m3", "offline": True}}), fetch=False)
