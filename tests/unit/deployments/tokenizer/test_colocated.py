"""Which requests the ingress tokenizes, and which go to the stage."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

import pytest

from deployments.settings.placement import AUTO_CHARACTERS, Placement
from deployments.tokenizer.colocated import IN_LOOP_CHARACTERS, ColocatedTokenizer
from embedder.core.deadline import NEVER, Deadline
from embedder.core.types import Input, Tokenized, Truncate
from embedder.inference.loading import load_tokenizer
from embedder.inference.tokenization import FastTokenizer
from embedder.models.files import ModelFiles
from embedder.settings.model import ModelSettings

TEXTS = ["Ships at dawn", "a quay", "a ship"]


class Stage:
    """A stage that records its calls."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[Input], Truncate, float | None]] = []
        self.tokenizer = load()

    async def tokenize(
        self, inputs: Sequence[Input], *, truncate: Truncate, deadline: Deadline
    ) -> Tokenized:
        self.asked.append((list(inputs), truncate, deadline))
        return self.tokenizer.encode(inputs, truncate=truncate)


def load() -> FastTokenizer:
    return load_tokenizer(ModelFiles.open(ModelSettings()))


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.mark.parametrize(
    ("placement", "characters", "calls"),
    [
        ("remote", 30, 1),
        ("auto", AUTO_CHARACTERS, 0),
        ("auto", AUTO_CHARACTERS + 1, 1),
        ("colocated", AUTO_CHARACTERS + 1, 0),
    ],
)
async def test_the_ingress_tokenizes_the_requests_of_its_placement(
    stage: Stage, placement: Placement, characters: int, calls: int
) -> None:
    texts = ["Ships at dawn", "a quay", "a " * characters]
    texts[-1] = texts[-1][: characters - len("".join(texts[:-1]))]
    near = ColocatedTokenizer(stage, load, placement)
    await near.load()
    found = await near.tokenize(texts, truncate=Truncate.START, deadline=Deadline(7.0))
    expected = stage.tokenizer.encode(texts, truncate=Truncate.START)

    assert stage.asked == [(texts, Truncate.START, 7.0)] * calls
    assert found.tokens.ids.tolist() == expected.tokens.ids.tolist()
    assert found.truncated.tolist() == expected.truncated.tolist()


@pytest.mark.parametrize(
    ("characters", "in_loop"), [(IN_LOOP_CHARACTERS, True), (IN_LOOP_CHARACTERS + 1, False)]
)
async def test_only_short_inputs_are_tokenized_on_the_event_loop(
    stage: Stage, characters: int, in_loop: bool
) -> None:
    threads: list[int] = []

    class Watched(FastTokenizer):
        def encode(self, inputs: Sequence[Input], *, truncate: Truncate) -> Tokenized:
            threads.append(threading.get_ident())
            return stage.tokenizer.encode(inputs, truncate=truncate)

    near = ColocatedTokenizer(stage, lambda: Watched.__new__(Watched), "colocated")
    await near.load()
    text = "a" * characters
    found = await near.tokenize([text], truncate=Truncate.END, deadline=NEVER)

    assert (threads == [threading.get_ident()]) is in_loop
    expected = stage.tokenizer.encode([text], truncate=Truncate.END)
    assert found.tokens.ids.tolist() == expected.tokens.ids.tolist()
    assert stage.asked == []


async def test_all_requests_go_to_the_stage_until_the_tokenizer_is_loaded(stage: Stage) -> None:
    near = ColocatedTokenizer(stage, load, "colocated")
    await near.tokenize(TEXTS, truncate=Truncate.END, deadline=NEVER)
    await near.load()
    await near.tokenize(TEXTS, truncate=Truncate.END, deadline=NEVER)

    assert len(stage.asked) == 1


async def test_without_a_tokenizer_all_requests_go_to_the_stage_with_a_warning(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> FastTokenizer:
        raise OSError("no such disk")

    near = ColocatedTokenizer(stage, fail, "colocated")
    with caplog.at_level(logging.WARNING, "ray.serve"):
        await near.load()
    await near.tokenize(TEXTS, truncate=Truncate.END, deadline=NEVER)

    assert len(stage.asked) == 1
    assert "no such disk" in caplog.text


async def test_nothing_is_loaded_if_all_work_goes_to_the_stage(stage: Stage) -> None:
    def never() -> FastTokenizer:
        raise AssertionError("loaded in vain")

    await ColocatedTokenizer(stage, never, "remote").load()
