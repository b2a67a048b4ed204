"""A text on which torch fails: only its own request fails, not others in the batch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest
import torch

from deployments.encoder.colocated import ColocatedEncoder
from embedder.backends.torch.packed import PackedForward
from embedder.cache.memory import MemoryCache
from embedder.core.errors import BackendFailure
from embedder.core.types import TokenBatch
from embedder.inference.device_thread import device_thread
from embedder.inference.loading import load_model
from embedder.inference.local import LocalEncoder, LocalTokenizer
from embedder.pipeline.pipeline import Pipeline
from embedder.pipeline.stage_executor import Stages
from embedder.settings.model import BackendSettings, BatchSettings, EmbedderSettings, ModelSettings
from tests.tiny_models import VOCABULARY, write_tiny_bert

POISON = "q"
FAILURES = [RuntimeError("device-side assert"), IndexError("index out of range in self")]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> EmbedderSettings:
    directory = write_tiny_bert(tmp_path_factory.mktemp("failing"))
    return EmbedderSettings(
        model=ModelSettings(name=str(directory)),
        backend=BackendSettings(dtype="float32", device="cpu", shared_weights=False),
        batching=BatchSettings(autotune_s=0),
    )


@pytest.fixture
async def encoder(settings: EmbedderSettings) -> AsyncIterator[LocalEncoder]:
    thread = device_thread()
    encoder = LocalEncoder(load_model(settings), settings.batching, thread)
    yield encoder
    encoder.close()
    thread.shutdown()


@pytest.fixture
def tokenizer(settings: EmbedderSettings) -> LocalTokenizer:
    return LocalTokenizer.load(settings.model)


@pytest.fixture(params=FAILURES, ids=lambda failure: type(failure).__name__)
def poisoned(
    encoder: LocalEncoder, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Make torch fail on every batch with the failing text, once the model is loaded."""
    compute, poison = PackedForward.__call__, VOCABULARY.index(POISON)

    def fail(forward: PackedForward, tokens: TokenBatch) -> torch.Tensor:
        if (tokens.ids == poison).any():
            raise request.param
        return compute(forward, tokens)

    monkeypatch.setattr(PackedForward, "__call__", fail)


@pytest.mark.usefixtures("poisoned")
async def test_only_the_request_of_the_failing_text_fails(
    encoder: LocalEncoder, tokenizer: LocalTokenizer
) -> None:
    """The second request joins the computation of the first; the third shares its batch."""
    embedder = Pipeline(encoder.model, Stages(tokenizer, encoder, MemoryCache(2**20)), limits=None)

    failing, joined, beside = await asyncio.gather(
        embedder.embed(["a", POISON]),
        embedder.embed(["b", "a"]),
        embedder.embed(["c"]),
        return_exceptions=True,
    )

    assert isinstance(failing, BackendFailure)
    assert not isinstance(joined, BaseException)
    assert not isinstance(beside, BaseException)
    assert np.isfinite(joined.vectors).all()
    assert joined.vectors[1].tolist() == (await embedder.embed(["a"])).vectors[0].tolist()
    assert embedder.in_flight == 0


async def test_the_encoder_stage_answers_if_the_encoder_in_the_ingress_fails(
    encoder: LocalEncoder, tokenizer: LocalTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [RuntimeError("device-side assert")]
    compute = PackedForward.__call__

    def fail_once(forward: PackedForward, tokens: TokenBatch) -> torch.Tensor:
        if failures:
            raise failures.pop()
        return compute(forward, tokens)

    monkeypatch.setattr(PackedForward, "__call__", fail_once)
    colocated = ColocatedEncoder(encoder, encoder, "colocated")
    embedder = Pipeline(encoder.model, Stages(tokenizer, colocated, MemoryCache(0)), limits=None)

    answer = await embedder.embed(["a"])

    assert failures == []
    assert answer.vectors.tolist() == (await embedder.embed(["a"])).vectors.tolist()
