"""Streams of inputs in chunks: order, bounded read-ahead, errors and interruptions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from itertools import count, islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.core.errors import (
    BackendFailure,
    EmbedderError,
    InvalidInput,
    LimitExceeded,
    Unavailable,
)
from embedder.core.request import Embeddings
from embedder.core.types import Input
from embedder.pipeline.streaming import in_chunks

SIZES = st.integers(1, 6)
AHEADS = st.integers(0, 4)


class Answer(Future[Embeddings]):
    """The future of a chunk; it is computed when its result is awaited."""

    def __init__(self, part: list[Input], outcome: BaseException | None) -> None:
        super().__init__()
        self.part = part
        self._outcome = outcome

    def result(self, timeout: float | None = None) -> Embeddings:
        if isinstance(self._outcome, KeyboardInterrupt):
            raise self._outcome  # the wait is interrupted; the work goes on
        if self._outcome is not None:
            self.set_exception(self._outcome)
        else:
            self.set_result(answer_of(self.part))
        return super().result(0)


class Submitter:
    """Records submitted chunks; ``outcomes`` are errors by the number of the chunk."""

    def __init__(self, outcomes: dict[int, BaseException] | None = None) -> None:
        self.answers: list[Answer] = []
        self._outcomes = outcomes or {}

    def submit(self, part: list[Input]) -> Future[Embeddings]:
        self.answers.append(Answer(part, self._outcomes.get(len(self.answers))))
        return self.answers[-1]

    @property
    def cancelled(self) -> list[bool]:
        return [answer.cancelled() for answer in self.answers]


class Reading:
    """An iterable that counts the items read, and ends with an error or never."""

    def __init__(self, *, until: int | None = None, fault: BaseException | None = None) -> None:
        self.read = 0
        self._until = until
        self._fault = fault

    def __iter__(self) -> Iterator[str]:
        for number in count():
            if number == self._until and self._fault is not None:
                raise self._fault
            self.read += 1
            yield str(number)


def texts(total: int) -> Iterator[str]:
    """Yield the numbers as texts."""
    return map(str, range(total))


def answer_of(part: list[Input]) -> Embeddings:
    """Return vectors of one component, the number in the text."""
    vectors = np.array([[float(str(item))] for item in part], np.float32)
    return Embeddings(vectors, np.ones(len(part), np.int32), np.zeros(len(part), np.bool_), 0, "m")


def taken(answers: Iterable[Embeddings], most: int = 1000) -> tuple[list[int], Exception | None]:
    """Read a stream; return the numbers, and the error that ended it."""
    numbers: list[int] = []
    try:
        for answer in islice(answers, most):
            numbers += answer.vectors[:, 0].astype(int).tolist()
    except Exception as error:  # noqa: BLE001 - the tests look at it
        return numbers, error
    return numbers, None


@given(st.integers(0, 40), SIZES, AHEADS)
def test_every_input_is_yielded_once_in_order_and_in_full_chunks(
    total: int, chunk: int, ahead: int
) -> None:
    work = Submitter()
    stream = in_chunks(texts(total), work.submit, chunk=chunk, ahead=ahead)

    assert taken(stream) == (list(range(total)), None)
    assert [len(answer.part) for answer in work.answers] == [
        min(chunk, total - first) for first in range(0, total, chunk)
    ]


@given(SIZES, AHEADS, st.integers(1, 6))
def test_at_most_the_chunks_ahead_are_read(chunk: int, ahead: int, chunks: int) -> None:
    source = Reading()
    stream = in_chunks(source, Submitter().submit, chunk=chunk, ahead=ahead)
    before = source.read
    reads = [source.read for _ in islice(stream, chunks)]
    stream.close()

    assert before == 0
    assert reads == [(1 + number + ahead) * chunk for number in range(chunks)]
    assert source.read == reads[-1]


def test_an_exhausted_iterator_is_not_read_again() -> None:
    class Ending:
        asked = 0

        def __iter__(self) -> Iterator[str]:
            return self

        def __next__(self) -> str:
            self.asked += 1
            if self.asked >= 4:
                raise StopIteration
            return str(self.asked)

    source = Ending()

    assert taken(in_chunks(source, Submitter().submit, chunk=2)) == ([1, 2, 3], None)
    assert source.asked == 4


@given(
    chunk=SIZES,
    ahead=AHEADS,
    total=st.integers(0, 30),
    bad=st.sets(st.integers(0, 9)),
    most=st.integers(0, 12),
)
def test_an_error_is_raised_in_order_and_later_chunks_are_cancelled(
    chunk: int, ahead: int, total: int, bad: set[int], most: int
) -> None:
    errors = {number: BackendFailure(str(number)) for number in bad}
    work = Submitter({**errors})
    stream = in_chunks(texts(total), work.submit, chunk=chunk, ahead=ahead)
    numbers, error = taken(stream, most)
    stream.close()

    all_chunks = -(-total // chunk)
    good = min([all_chunks, most, *bad])
    assert numbers == list(range(total))[: good * chunk]
    assert error is (errors.get(good) if good < min(all_chunks, most) else None)
    asked_for = good + (error is not None)
    assert work.cancelled[asked_for:] == [True] * (len(work.answers) - asked_for)
    assert not any(work.cancelled[:asked_for])


@given(
    chunk=SIZES,
    ahead=AHEADS,
    until=st.integers(0, 30),
    fault=st.sampled_from([OSError("gone"), RuntimeError(), InvalidInput("input[1]", "is bad")]),
)
def test_an_error_of_the_iterable_is_raised_after_the_chunks_before_it(
    chunk: int, ahead: int, until: int, fault: Exception
) -> None:
    work = Submitter()
    source = Reading(until=until, fault=fault)
    numbers, error = taken(in_chunks(source, work.submit, chunk=chunk, ahead=ahead))

    assert numbers == list(range(until))
    assert error is fault
    assert not any(work.cancelled)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (InvalidInput("input[1]", "must not be empty"), "'input[5]' must not be empty"),
        (InvalidInput("input[0][3]", "is -1"), "'input[4][3]' is -1"),
        (
            LimitExceeded("input[1]", "tokens", 9, 8),
            "'input[5]' has 9 tokens; the limit is 8",
        ),
        (InvalidInput("dimensions", "is 0"), "'dimensions' is 0"),
    ],
)
def test_an_error_names_an_input_by_its_row_in_the_stream(
    error: InvalidInput, sentence: str
) -> None:
    _, raised = taken(in_chunks(texts(9), Submitter({2: error}).submit, chunk=2))

    assert str(raised) == sentence
    assert type(raised) is type(error)


@pytest.mark.parametrize("interrupted", [0, 2])
def test_an_interrupted_wait_cancels_all_pending_chunks(
    interrupted: int,
) -> None:
    work = Submitter({interrupted: KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        list(in_chunks(texts(99), work.submit, chunk=2, ahead=3))

    assert work.cancelled == [False] * interrupted + [True] * 4


def test_an_interruption_while_reading_is_raised_at_once() -> None:
    work = Submitter()
    source = Reading(until=5, fault=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        next(in_chunks(source, work.submit, chunk=2, ahead=3))

    assert work.cancelled == [True, True]


def test_a_failing_submission_cancels_the_earlier_ones() -> None:
    submitted: list[Future[Embeddings]] = []

    def submit(part: list[Input]) -> Future[Embeddings]:
        if len(submitted) == 2:
            raise Unavailable("closed")
        submitted.append(Future())
        return submitted[-1]

    with pytest.raises(EmbedderError, match="closed"):
        next(in_chunks(texts(9), submit, chunk=1, ahead=3))

    assert [future.cancelled() for future in submitted] == [True, True]
