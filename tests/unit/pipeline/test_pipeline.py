"""One request in the pipeline: results, options, and hits of the local cache."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from embedder.cache.memory import MemoryCache
from embedder.core.deadline import Deadline
from embedder.core.errors import DeadlineExceeded, InvalidInput
from embedder.core.request import EmbedOptions
from embedder.core.types import InputType, Priority, Truncate
from embedder.pipeline.pipeline import Pipeline
from embedder.pipeline.stage_executor import Stages
from tests.unit.fake_model import MODEL, RAW, FakeModel, expected, pipeline, settle


async def test_the_result_has_one_row_per_input_in_order() -> None:
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


async def test_duplicates_in_a_request_are_computed_once() -> None:
    model = FakeModel()
    answer = await pipeline(model).embed(["b", "a", "b", "b", "a"], RAW)

    assert answer.vectors.tolist() == expected("b", "a", "b", "b", "a").tolist()
    assert model.encoded == [[[98], [97]]]


async def test_one_request_may_mix_ids_and_texts() -> None:
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
    """Return a pipeline of a model with several prompts and a default prompt."""
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
async def test_options_and_model_decide_the_prompt(options: EmbedOptions, text: str) -> None:
    answer = await prompted(FakeModel()).embed(["a", [98]], options)

    assert answer.vectors.tolist() == expected(text, "b").tolist()


async def test_different_names_of_one_prompt_share_cache_entries() -> None:
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
async def test_the_requested_end_is_truncated(truncate: Truncate, kept: str) -> None:
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


async def test_changing_a_result_does_not_change_the_cache() -> None:
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


async def test_all_dimensions_and_norms_are_derived_from_one_computation() -> None:
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


async def test_the_encoder_gets_the_priority_of_the_request() -> None:
    model = FakeModel()
    await pipeline(model).embed(["a"], EmbedOptions(priority=Priority.BULK))

    assert model.priorities == [Priority.BULK]


async def test_a_request_that_times_out_leaves_no_computation() -> None:
    model = FakeModel()
    model.gate = asyncio.Event()
    embedder = pipeline(model)
    with pytest.raises(DeadlineExceeded):
        await embedder.embed(["a"], deadline=Deadline.after(0.01))
    await settle()

    assert len(embedder._computations) == 0


async def test_a_request_in_time_is_answered() -> None:
    answer = await pipeline(FakeModel()).embed(
        ["a"], EmbedOptions(normalize=False), Deadline.after(60)
    )

    assert answer.vectors.tolist() == expected("a").tolist()
