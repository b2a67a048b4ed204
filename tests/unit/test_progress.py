"""The progress bar counts and draws correctly, and is always closed."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder import EmbeddingGenerator, EmbedOptions
from embedder.core.errors import BackendFailure, InvalidInput
from embedder.core.request import Embeddings
from embedder.pipeline.streaming import CHUNK
from embedder.progress import Progress
from tests.unit.fake_device import POISON, Device, ids, make_generator, word

WORDS = [word(number) for number in range(2 * CHUNK + 9)]


class Clock:
    """A clock that the test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def result_of(texts: int, tokens: int) -> Embeddings:
    """Return a result with a number of texts, and tokens per text."""
    counts = np.full(texts, tokens, np.int32)
    return Embeddings(np.zeros((texts, 4), np.float32), counts, np.zeros(texts, np.bool_), 0, "m")


def last_drawn(text: str) -> str:
    """Return the last state of the bar."""
    return text.rstrip("\n").rpartition("\r")[2]


@pytest.fixture
def generator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddingGenerator]:
    with make_generator(monkeypatch, tmp_path, Device()) as generator:
        yield generator


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock that the bar and tqdm read."""
    clock = Clock()
    monkeypatch.setattr("embedder.progress.time.perf_counter", clock)
    monkeypatch.setattr("tqdm.std.time", clock)
    return clock


def test_a_bar_shows_texts_and_tokens_per_second_and_the_remaining_time(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress(100) as progress:
        clock.now = 2.0
        progress.add(result_of(texts=20, tokens=500))
        drawn = last_drawn(capsys.readouterr().err)

    assert "20/100" in drawn
    assert "10.00 texts/s" in drawn
    assert "5,000 tokens/s" in drawn
    assert re.search(r"\[00:02<00:08,", drawn), "80 texts are left, at 10 a second"


@given(st.lists(st.integers(1, 50), max_size=8))
def test_a_finished_bar_has_counted_everything(parts: list[int]) -> None:
    with Progress(sum(parts)) as progress:
        kept = list(progress.track(result_of(part, 3) for part in parts))
        shown = progress._bar.format_dict

    assert [len(one.token_counts) for one in kept] == parts
    assert (shown["n"], shown["total"]) == (sum(parts), sum(parts))


def test_a_bar_of_unknown_length_counts_up(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress(None) as progress:
        clock.now = 2.0
        progress.add(result_of(20, 5))
    drawn = last_drawn(capsys.readouterr().err)

    assert drawn.startswith("20 texts [00:02, 10.00 texts/s, 50 tokens/s")


@pytest.mark.parametrize("shown", [False, None])
def test_a_hidden_bar_is_not_drawn(capsys: pytest.CaptureFixture[str], shown: bool | None) -> None:
    """The captured stderr is not a terminal."""
    with Progress(9, shown=shown) as progress:
        progress.add(result_of(9, 1))

    assert capsys.readouterr() == ("", "")


def test_an_error_closes_the_bar(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(9)
    progress.add(result_of(4, 1))
    with pytest.raises(BackendFailure), progress:
        raise BackendFailure("broken")
    drawn = capsys.readouterr().err

    assert progress._bar.disable, "closing disables the bar"
    assert "4/9" in last_drawn(drawn)
    assert drawn.endswith("\n")


CALLS: dict[str, Callable[[EmbeddingGenerator, list[str], bool], object]] = {
    "embed": lambda generator, texts, shown: generator.embed(texts, show_progress=shown),
    "embed_stream": lambda generator, texts, shown: list(
        generator.embed_stream(texts, show_progress=shown)
    ),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_generator_draws_its_progress_on_stderr(
    generator: EmbeddingGenerator,
    capsys: pytest.CaptureFixture[str],
    call: Callable[[EmbeddingGenerator, list[str], bool], object],
) -> None:
    with_bar = call(generator, WORDS, True)
    drawn = capsys.readouterr()
    without = call(generator, WORDS, False)
    nothing = capsys.readouterr()

    assert np.array_equal(np.asarray(with_bar), np.asarray(without))
    assert "100%|" in last_drawn(drawn.err)
    assert f" {len(WORDS)}/{len(WORDS)} [" in last_drawn(drawn.err)
    assert " texts/s, " in last_drawn(drawn.err)
    assert " tokens/s]" in last_drawn(drawn.err)
    assert drawn.out == ""
    assert nothing == ("", "")


def test_nothing_is_drawn_by_default(
    generator: EmbeddingGenerator, capsys: pytest.CaptureFixture[str]
) -> None:
    generator.embed(WORDS)
    list(generator.embed_stream(WORDS))
    generator.warm_up(WORDS)

    assert capsys.readouterr() == ("", "")


def test_a_result_is_counted_when_it_arrives() -> None:
    with Progress(9) as progress:
        answers = progress.track(result_of(3, 1) for _ in range(3))
        next(answers)

        assert progress._bar.n == 3


@pytest.mark.parametrize("dimensions", [2, 9])
def test_empty_inputs_have_the_same_result_with_a_bar(
    generator: EmbeddingGenerator, dimensions: int
) -> None:
    outcomes: list[object] = []
    for shown in (False, True):
        try:
            options = EmbedOptions(dimensions=dimensions)
            outcomes.append(generator.embed([], options, show_progress=shown).shape)
        except InvalidInput as error:
            outcomes.append(str(error))

    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("texts", [[], ["abc"]])
def test_a_bar_may_be_short_or_empty(generator: EmbeddingGenerator, texts: list[str]) -> None:
    assert np.array_equal(generator.embed(texts, show_progress=True), generator.embed(texts))


def test_a_bar_changes_neither_results_nor_error_positions(
    generator: EmbeddingGenerator,
) -> None:
    options = EmbedOptions(prompt="x ", dimensions=2)
    errors = []
    for shown in (False, True):
        with pytest.raises(InvalidInput) as caught:
            generator.embed([*WORDS, ""], show_progress=shown)
        errors.append(str(caught.value))

    assert errors == [f"'input[{len(WORDS)}]' must not be empty"] * 2
    assert np.array_equal(
        generator.embed(WORDS, options, show_progress=True), generator.embed(WORDS, options)
    )


@pytest.mark.parametrize(("collect", "total"), [(iter, len(WORDS)), (deque, None)])
def test_the_total_of_a_stream_is_given_or_the_length_of_its_inputs(
    generator: EmbeddingGenerator,
    capsys: pytest.CaptureFixture[str],
    collect: Callable[[list[str]], Iterable[str]],
    total: int | None,
) -> None:
    list(generator.embed_stream(collect(WORDS), total=total, show_progress=True))

    assert f" {len(WORDS)}/{len(WORDS)} [" in last_drawn(capsys.readouterr().err)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_the_bar_of_a_failed_call_keeps_its_last_state(
    generator: EmbeddingGenerator,
    capsys: pytest.CaptureFixture[str],
    call: Callable[[EmbeddingGenerator, list[str], bool], object],
) -> None:
    texts = [*WORDS[:CHUNK], POISON]
    with pytest.raises(BackendFailure):
        call(generator, texts, True)
    drawn = capsys.readouterr().err

    assert f" {CHUNK}/{CHUNK + 1} [" in last_drawn(drawn)
    assert drawn.endswith("\n")


def test_closing_a_stream_closes_its_bar(
    generator: EmbeddingGenerator, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = generator.embed_stream(WORDS, show_progress=True)
    next(stream)
    stream.close()  # type: ignore[attr-defined]

    assert capsys.readouterr().err.endswith("\n")


def test_tokens_include_special_tokens(
    generator: EmbeddingGenerator, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = Progress.add

    def later(progress: Progress, one: Embeddings) -> None:
        clock.now += 1.0
        add(progress, one)
        postfixes.append(progress._bar.postfix)

    postfixes: list[object] = []
    monkeypatch.setattr(Progress, "add", later)
    generator.embed(WORDS, show_progress=True)

    tokens = sum(len(ids(text)) for text in WORDS)
    assert postfixes[-1] == f"{tokens / 3:,.0f} tokens/s"
