"""Which requests the ingress tokenizes, and which go to the stage."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest

from deployments.settings.placement import AUTO_CHARACTERS, Placement
from deployments.settings.service import ServeSettings
from deployments.tokenizer.colocated import IN_LOOP_CHARACTERS, ColocatedTokenizer
from embedder.chunking.request import ChunkOptions, SplitTexts
from embedder.core.deadline import NEVER, Deadline
from embedder.core.errors import ConfigurationError, DeadlineExceeded
from embedder.core.types import Input, Tokenized, Truncate
from embedder.inference.loading import load_tokenizer
from embedder.inference.local import LocalTokenizer
from embedder.inference.tokenization import FastTokenizer
from embedder.models.files import ModelFiles
from embedder.settings.model import ModelSettings
from tests.unit.deployments.ingress.fake_service import MODEL

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

    async def split(
        self,
        texts: Sequence[Input],
        options: ChunkOptions,
        *,
        prompt: str,
        most: int,
        deadline: Deadline,
    ) -> SplitTexts:
        self.asked.append((list(texts), Truncate.NONE, deadline))
        return LocalTokenizer(self.tokenizer).split(texts, options, prompt=prompt, most=most)


def load() -> FastTokenizer:
    return load_tokenizer(ModelFiles.open(ModelSettings()))


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.mark.parametrize(
    ("placement", "characters", "calls"),
    [
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
    tokenizer = ColocatedTokenizer(stage, LocalTokenizer(load()), placement)
    found = await tokenizer.tokenize(texts, truncate=Truncate.START, deadline=Deadline(7.0))
    expected = stage.tokenizer.encode(texts, truncate=Truncate.START)

    assert stage.asked == [(texts, Truncate.START, 7.0)] * calls
    assert found.tokens.ids.tolist() == expected.tokens.ids.tolist()
    assert found.truncated.tolist() == expected.truncated.tolist()


@pytest.mark.parametrize(
    ("placement", "characters", "calls"),
    [
        ("auto", AUTO_CHARACTERS, 0),
        ("auto", AUTO_CHARACTERS + 1, 1),
        ("colocated", AUTO_CHARACTERS + 1, 0),
    ],
)
async def test_the_ingress_splits_the_texts_of_its_placement_in_a_thread(
    stage: Stage, placement: Placement, characters: int, calls: int
) -> None:
    texts = [("Ships at dawn. " * 2000)[:characters]]
    local, options = LocalTokenizer(load()), ChunkOptions(64, 8, "sentences")
    found = await ColocatedTokenizer(stage, local, placement).split(
        texts, options, prompt="ship: ", most=2000, deadline=NEVER
    )

    assert stage.asked == [(texts, Truncate.NONE, NEVER)] * calls
    assert found == local.split(texts, options, prompt="ship: ")
    assert local.queue.waiting == local.queue.running == 0


async def test_a_split_that_waits_until_its_deadline_is_given_up(stage: Stage) -> None:
    tokenizer = ColocatedTokenizer(stage, LocalTokenizer(load()), "colocated")
    with pytest.raises(DeadlineExceeded, match="Tokenizer"):
        await tokenizer.split(
            ["ship"], ChunkOptions(), prompt="", most=9, deadline=Deadline.after(0)
        )


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

    local = LocalTokenizer(Watched.__new__(Watched))
    text = "a" * characters
    found = await ColocatedTokenizer(stage, local, "colocated").tokenize(
        [text], truncate=Truncate.END, deadline=NEVER
    )

    assert (threads == [threading.get_ident()]) is in_loop
    expected = stage.tokenizer.encode([text], truncate=Truncate.END)
    assert found.tokens.ids.tolist() == expected.tokens.ids.tolist()
    assert stage.asked == []


async def test_a_tokenizer_is_loaded_only_if_it_is_that_of_the_encoder(stage: Stage) -> None:
    settings, model = ServeSettings(), ModelSettings()
    info = replace(MODEL, tokenizer_digest=ModelFiles.open(model).tokenizer_digest)
    tokenizer = ColocatedTokenizer.load(stage, settings, model, info)
    await tokenizer.tokenize(TEXTS, truncate=Truncate.END, deadline=NEVER)

    assert stage.asked == []
    with pytest.raises(ConfigurationError, match="another tokenizer"):
        ColocatedTokenizer.load(stage, settings, model, MODEL)
