"""Limits of the pipeline: the error names the row of the request."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from embedder.cache.memory import MemoryCache
from embedder.core.errors import InvalidInput, LimitExceeded
from embedder.core.request import EmbedOptions
from embedder.core.types import Input, Truncate
from embedder.pipeline.pipeline import Pipeline
from embedder.pipeline.stage_executor import Stages
from embedder.settings.model import LimitSettings
from tests.unit.fake_model import MODEL, FakeModel, expected, pipeline

UNCUT = EmbedOptions(truncate=Truncate.NONE, normalize=False)


def limited(model: FakeModel) -> Pipeline:
    """Return a pipeline with small limits."""
    limits = LimitSettings(max_inputs=3, max_characters=10, max_request_tokens=12)
    return Pipeline(MODEL, Stages(model, model, MemoryCache(2**20)), limits=limits)


async def refusal(embedder: Pipeline, inputs: Sequence[Input], options: EmbedOptions) -> str:
    """Return the message of the error of a request."""
    with pytest.raises(InvalidInput) as caught:
        await embedder.embed(inputs, options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        (["a"] * 4, "'input' has 4 items; the limit is 3"),
        (["a", "b" * 11], "'input[1]' has 11 characters; the limit is 10"),
        ([[1], [1] * 11], "'input[1]' has 11 token ids; the limit is 10"),
        (["ab" * 4, "cd" * 4], "'input' has 16 tokens to compute; the limit is 12"),
        (["a", ""], "'input[1]' must not be empty"),
        ([[1], []], "'input[1]' must not be empty"),
        ([[1, 1000]], "'input[0][1]' is 1000; ids of this model's vocabulary are 0 to 999"),
        (["a", [-1]], "'input[1][0]' is -1; ids of this model's vocabulary are 0 to 999"),
    ],
)
async def test_a_refusal_names_the_field_and_the_limit(inputs: list[Input], sentence: str) -> None:
    model = FakeModel()
    embedder = limited(model)

    assert await refusal(embedder, inputs, EmbedOptions()) == sentence
    assert model.encoded == []
    assert len(embedder._computations) == 0


async def test_a_request_at_every_limit_is_answered() -> None:
    answer = await limited(FakeModel()).embed(["abcdefghij", "k", [999] * 3], EmbedOptions())

    assert answer.token_counts.tolist() == [8, 1, 3]


@pytest.mark.parametrize("dimensions", [0, -1, 5])
async def test_a_width_that_the_model_lacks_is_refused(dimensions: int) -> None:
    sentence = await refusal(pipeline(FakeModel()), ["a"], EmbedOptions(dimensions=dimensions))

    assert sentence == f"'dimensions' is {dimensions}; 'sums' has widths 4 to 1"


async def test_an_input_that_must_not_be_truncated_is_refused_with_its_row() -> None:
    """Not with its row among the distinct or the uncached inputs."""
    model = FakeModel()
    embedder = pipeline(model)
    await embedder.embed(["cached"], UNCUT)
    sentence = await refusal(embedder, ["a", "a", "cached", "b", "nine long"], UNCUT)

    assert sentence == "'input[4]' has 9 tokens; the limit is 8"
    assert len(model.encoded) == 1
    assert len(embedder._computations) == 0


async def test_an_input_of_exactly_the_models_length_is_not_truncated() -> None:
    answer = await pipeline(FakeModel()).embed(["eight ok"], UNCUT)

    assert answer.vectors.tolist() == expected("eight ok").tolist()
    assert answer.truncated.tolist() == [False]


async def test_cached_tokens_do_not_count_toward_the_request_limit() -> None:
    embedder = limited(FakeModel())
    await embedder.embed(["ab" * 4])
    answer = await embedder.embed(["ab" * 4, "cd" * 4])

    assert answer.token_counts.tolist() == [8, 8]


async def test_without_limits_only_invalid_inputs_are_refused() -> None:
    embedder = pipeline(FakeModel())
    answer = await embedder.embed([str(number) * 8 for number in range(9)] + ["x" * 20])

    assert answer.token_counts.tolist() == [8] * 10
    assert await refusal(embedder, [""], EmbedOptions()) == "'input[0]' must not be empty"


async def test_a_text_that_utf8_cannot_encode_is_refused() -> None:
    assert "lone surrogate" in await refusal(
        pipeline(FakeModel()), ["a", "b\ud800"], EmbedOptions()
    )


async def test_a_prompt_that_utf8_cannot_encode_is_refused() -> None:
    with pytest.raises(InvalidInput, match="prompt"):
        await pipeline(FakeModel()).embed(["a"], EmbedOptions(prompt="\ud800"))


async def test_a_refused_request_leaves_nothing_in_the_cache() -> None:
    model = FakeModel()
    embedder = pipeline(model)
    with pytest.raises(LimitExceeded):
        await embedder.embed(["fine", "nine long"], UNCUT)

    assert (await embedder.embed(["fine"], UNCUT)).cached == 0
