"""Colocated stages are loaded only if they compute as the replicas do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from deployments.ingress.service import connection
from deployments.settings.service import ServeSettings
from embedder.core.errors import ConfigurationError
from embedder.core.types import ModelInfo
from embedder.inference.loading import LoadedBackend
from embedder.models.files import ModelFiles
from embedder.settings.model import EmbedderSettings, ModelSettings
from tests.unit.deployments.ingress.fake_service import MODEL

SETTINGS = ServeSettings()


class Backend:
    """The backend of a loaded model, as far as an encoder reads it before a batch."""

    max_concurrency = 1
    padded = False


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[EmbedderSettings]:
    """Load a model with the vectors of `MODEL`; return the settings of each load."""
    given: list[EmbedderSettings] = []

    def load(settings: EmbedderSettings) -> LoadedBackend:
        given.append(settings)
        backend: Any = Backend()
        return LoadedBackend(backend, MODEL, None)

    monkeypatch.setattr(connection, "load_model", load)
    return given


def test_an_encoder_of_the_same_model_is_loaded_with_the_budget_of_its_replicas(
    asked: list[EmbedderSettings],
) -> None:
    encoder = connection._load_encoder(SETTINGS, ModelSettings(alias="prod"), MODEL)

    assert encoder.batcher.budget.max_tokens == MODEL.max_batch_tokens
    assert asked[0].model.alias == "prod"
    assert asked[0].batching.max_tokens == MODEL.max_batch_tokens


@pytest.mark.parametrize(
    "there",
    [
        {"digest": "f" * 64},
        {"config_digest": "f" * 64},
        {"dtype": "bfloat16"},
        {"backend": "onnx"},
        {"device": "cuda:0"},
    ],
)
@pytest.mark.usefixtures("asked")
def test_an_encoder_that_would_give_other_vectors_is_refused(there: dict[str, str]) -> None:
    info: ModelInfo = replace(MODEL, **there)  # type: ignore[arg-type] # all of them are strings

    with pytest.raises(ConfigurationError, match=f"^{next(iter(there))} of"):
        connection._load_encoder(SETTINGS, ModelSettings(), info)


def test_a_tokenizer_is_loaded_only_if_it_is_that_of_the_encoder() -> None:
    digest = ModelFiles.open(ModelSettings()).tokenizer_digest
    info = replace(MODEL, tokenizer_digest=digest)

    assert connection._load_tokenizer(ModelSettings(), info).max_tokens > 0
    with pytest.raises(ConfigurationError, match="another tokenizer"):
        connection._load_tokenizer(ModelSettings(), MODEL)
