"""One request's way through the pipeline: answers, options, what the near cache spares it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from embedder.cache.memory import MemoryCache
from embedder.core.errors import DeadlineExceeded, InvalidInput
from embedder.core.request import EmbedOptions
from embedder.core.types import InputType, Priority, Truncate
from embedder.pipeline.pipeline import Pipeline
from embedder.pipeline.stage_executor import Stages
from tests.unit.fake_model import MODEL, RAW, FakeModel, expected, pipeline, settle


async def test_the_answer_has_a_row_an_input_in_order() -> None:
    model = FakeModel()
    answer = await pipeline(model).embed(["abc", "z", "hello"], RAW)

    assert answer.vectors.dtype == np.float32
    assert answer.vectors.tolist() == expected("abc", "z", "hello").tolist()
    assert answer.token_counts.tolist() == [3, 1, 5]
    assert answer.truncated.tolist() == [False, False, False]
    assert answer.cached == 0


async def test_no_inputs_give_no_rows_and_no_work() -> None:
    model = FakeModel()
    answer = await pipeline(model).embed([])

    assert answer.vectors.shape == (0, 4)
    assert model.tokenized == model.encoded == []


async def test_duplicates_in_a_request_are_computed_once_and_answered_each() -> None:
    model = FakeModel()
    answer = await pipeline(model).embed(["b", "a", "b", "b", "a"], RAW)

    assert answer.vectors.tolist() == expected("b", "a", "b", "b", "a").tolist()
    assert model.encoded == [[[98], [97]]]


async def test_ids_and_texts_may_stand_in_one_request() -> None:
    model = FakeModel()
    answer = await pipeline(model).embed(["ab", [97, 98], [999]], RAW)

    assert answer.vectors.tolist() == [*expected("ab", "ab").tolist(), [999, 1, 999, 999]]


async def test_a_prompt_goes_in_front_of_texts_and_not_of_ids() -> None:
    model = FakeModel()
    answer = await pipeline(model).embed(["b", [98]], EmbedOptions(prompt="a", normalize=False))

    assert answer.vectors.tolist() == expected("ab", "b").tolist()


async def test_another_prompt_is_another_vector() -> None:
    model = FakeModel()
    embedder = pipeline(model)
    await embedder.embed(["b"], EmbedOptions(prompt="x", normalize=False))
    answer = await embedder.embed(["b"], EmbedOptions(prompt="a", normalize=False))

    assert answer.vectors.tolist() == expected("ab").tolist()


PROMPTED = replace(
    MODEL, prompts={"query": "q", "document": "p", "topic": "t"}, default_prompt="topic"
)


def prompted(model: FakeModel) -> Pipeline:
    """Return a pipeline of a model that has prompts, one of them for who says nothing."""
    return Pipeline(PROMPTED, Stages(model, model, MemoryCache(2**20)), limits=None)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (RAW, "ta"),
        (replace(RAW, prompt=""), "a"),
        (replace(RAW, prompt="x"), "xa"),
        (replace(RAW, prompt_name="query"), "qa"),
        (replace(RAW, input_type=InputType.QUERY), "qa"),
        (replace(RAW, input_type=InputType.DOCUMENT), "pa"),
    ],
)
async def test_the_prompt_is_what_options_and_model_decide(
    options: EmbedOptions, text: str
) -> None:
    answer = await prompted(FakeModel()).embed(["a", [98]], options)

    assert answer.vectors.tolist() == expected(text, "b").tolist()


async def test_ways_to_name_one_prompt_share_what_is_in_the_cache() -> None:
    model = FakeModel()
    embedder = prompted(model)
    await embedder.embed(["a"], EmbedOptions(prompt="q"))
    named = await embedder.embed(["a"], EmbedOptions(prompt_name="query"))
    kind = await embedder.embed(["a"], EmbedOptions(input_type=InputType.QUERY))
    other = await embedder.embed(["a"], EmbedOptions(input_type=InputType.DOCUMENT))

    assert (named.cached, kind.cached, other.cached) == (1, 1, 0)
    assert len(model.encoded) == 2


async def test_a_prompt_that_the_model_lacks_is_refused_before_any_work() -> None:
    model = FakeModel()
    with pytest.raises(InvalidInput, match="'prompt_name' is 'title'"):
        await prompted(model).embed(["a"], EmbedOptions(prompt_name="title"))

    assert model.tokenized == []


@pytest.mark.parametrize(
    ("truncate", "kept"), [(Truncate.END, "abcdefgh"), (Truncate.START, "cdefghij")]
)
async def test_the_end_that_is_cut_is_the_one_asked_for(truncate: Truncate, kept: str) -> None:
    options = EmbedOptions(truncate=truncate, normalize=False)
    answer = await pipeline(FakeModel()).embed(["abcdefghij", "abcdefgh"], options)

    assert answer.vectors.tolist() == expected(kept, "abcdefgh").tolist()
    assert answer.token_counts.tolist() == [8, 8]
    assert answer.truncated.tolist() == [True, False]


async def test_a_cached_answer_is_the_same_to_the_byte() -> None:
    model = FakeModel()
    embedder = pipeline(model)
    texts = ["abc", "abcdefghijk", "abc"]
    first = await embedder.embed(texts)
    again = await embedder.embed(texts)

    assert again.vectors.tobytes() == first.vectors.tobytes()
    assert again.token_counts.tolist() == first.token_counts.tolist() == [3, 8, 3]
    assert again.truncated.tolist() == first.truncated.tolist() == [False, True, False]
    assert (first.cached, again.cached) == (0, 2)
    assert len(model.encoded) == 1


async def test_changing_an_answer_changes_no_later_one() -> None:
    embedder = pipeline(FakeModel())
    first = await embedder.embed(["abc"], RAW)
    first.vectors[:] = -1

    assert (await embedder.embed(["abc"], RAW)).vectors.tolist() == expected("abc").tolist()


async def test_only_what_is_missing_is_computed() -> None:
    model = FakeModel()
    embedder = pipeline(model)
    await embedder.embed(["a", "b"])
    answer = await embedder.embed(["c", "a", "d"], RAW)

    assert model.encoded == [[[97], [98]], [[99], [100]]]
    assert answer.vectors.tolist() == expected("c", "a", "d").tolist()
    assert answer.cached == 1


async def test_every_width_and_length_is_derived_from_one_computation() -> None:
    model = FakeModel()
    embedder = pipeline(model)
    unit = await embedder.embed(["abc"])
    two = await embedder.embed(["abc"], EmbedOptions(dimensions=2))
    raw_two = await embedder.embed(["abc"], EmbedOptions(dimensions=2, normalize=False))

    whole = expected("abc")
    assert len(model.encoded) == 1
    np.testing.assert_allclose(unit.vectors, whole / np.sqrt((whole**2).sum()), rtol=1e-6)
    np.testing.assert_allclose(two.vectors, whole[:, :2] / np.hypot(294, 3), rtol=1e-6)
    assert raw_two.vectors.tolist() == [[294, 3]]


async def test_the_encoder_is_told_whose_work_it_is() -> None:
    model = FakeModel()
    await pipeline(model).embed(["a"], EmbedOptions(priority=Priority.BULK))

    assert model.priorities == [Priority.BULK]


async def test_a_request_out_of_time_fails_and_leaves_nothing_in_the_air() -> None:
    model = FakeModel()
    model.gate = asyncio.Event()
    embedder = pipeline(model)
    with pytest.raises(DeadlineExceeded):
        await embedder.embed(["a"], EmbedOptions(timeout_s=0.01))
    await settle()

    assert len(embedder._single_flight) == 0


async def test_a_request_in_time_is_answered() -> None:
    answer = await pipeline(FakeModel()).embed(["a"], EmbedOptions(timeout_s=5, normalize=False))

    assert answer.vectors.tolist() == expected("a").tolist()
