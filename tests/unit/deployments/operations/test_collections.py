"""Operations on the collections of a running service, over shards in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.operations import collections as index_operation
from deployments.operations.collections import BATCH, CollectionOperations
from deployments.operations.point_lines import PointLine
from embedder.core.deadline import NEVER
from embedder.core.errors import (
    InvalidInput,
    InvalidVector,
    Overloaded,
    Unavailable,
    UnknownModel,
)
from embedder.core.types import Priority
from embedder.index.contract.points import Metric, Spec
from tests.unit.deployments.index_service import LETTERS, IndexService, run, search, vectors_of

NAME = "things"


@pytest.fixture(params=[1, 3])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[IndexService]:
    """Yield a service of one shard, and one of three."""
    made = IndexService(tmp_path / "data", request.param)
    yield made
    made.close()


@pytest.fixture
def operation(service: IndexService) -> CollectionOperations:
    """Return the operations on the service."""
    return CollectionOperations(service.as_running())


def _texts(count: int) -> list[PointLine]:
    return [
        PointLine(number + 1, f"point {number}", "a" * number, None, {"n": number})
        for number in range(1, count + 1)
    ]


def _ignore(count: int) -> None:
    """Draw nothing."""


def test_points_are_embedded_as_bulk_work_a_batch_at_a_time(
    service: IndexService, operation: CollectionOperations
) -> None:
    progress: list[int] = []
    run(operation.create(NAME, Spec(Metric.L2, model=LETTERS)))
    service.fake_ingress.calls.clear()
    count = run(operation.add(NAME, iter(_texts(2 * BATCH + 5)), progress.append))

    assert progress == [BATCH, BATCH, 5]
    assert count == run(operation.index.describe(NAME, NEVER)).count == sum(progress)
    assert service.fake_ingress.calls == [(size, Priority.BULK, LETTERS) for size in progress]
    assert [info.name for info in run(operation.index.collections(NEVER))] == [NAME]


def test_the_last_line_with_an_id_wins(operation: CollectionOperations) -> None:
    first, *others = _texts(BATCH)
    last = PointLine(BATCH + 1, first.id, "dddd", None, {})
    run(operation.add(NAME, [first, *others, last], _ignore))
    (hit,) = run(search(operation, NAME, "dddd", 1))

    assert (hit["id"], hit["text"]) == (first.id, "dddd")
    assert run(operation.index.describe(NAME, NEVER)).count == BATCH


def test_a_search_uses_the_text_and_the_filter(
    service: IndexService, operation: CollectionOperations
) -> None:
    run(operation.add(NAME, _texts(30), _ignore))
    service.fake_ingress.calls.clear()
    hits = run(search(operation, NAME, "a" * 30, 3, filter={"n": {"$lt": 20}}))

    assert [hit["metadata"]["n"] for hit in hits] == [19, 18, 17]
    assert service.fake_ingress.calls == [(1, Priority.INTERACTIVE, LETTERS)]


def test_adding_the_same_points_again_changes_nothing(operation: CollectionOperations) -> None:
    found = []
    for _ in range(2):
        assert run(operation.add(NAME, _texts(40), _ignore)) == 40
        found.append(run(search(operation, NAME, "a", 100)))

    assert len(found[0]) == 40
    assert found[0] == found[1]


def test_an_overloaded_service_is_retried_for_retry_for_s(
    service: IndexService, operation: CollectionOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_operation, "PAUSE_S", 0.001)
    service.fake_ingress.busy = 3
    assert run(operation.add(NAME, _texts(3), _ignore)) == 3
    monkeypatch.setattr(index_operation, "RETRY_FOR_S", 0.0)
    service.fake_ingress.busy = 10_000

    with pytest.raises(Overloaded):
        run(operation.add(NAME, _texts(3), _ignore))


def test_a_shard_that_is_away_when_points_are_added_is_waited_for(
    service: IndexService, operation: CollectionOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    (handle, *_), pauses = service.handles.values(), 0
    handle.fault = Unavailable("a shard restarts")

    async def pause(seconds: float) -> None:
        nonlocal pauses
        pauses += 1
        handle.fault = None

    monkeypatch.setattr("asyncio.sleep", pause)
    assert run(operation.add(NAME, _texts(3), _ignore)) == 3
    assert pauses == 1
    assert run(operation.index.describe(NAME, NEVER)).count == 3


def _vector(number: int, row: list[float], **fields: str) -> PointLine:
    given = {"id": f"v{number}", **fields}
    return PointLine(number, given["id"], None, vectors_of(["a"])[0][: len(row)], {})


BAD: dict[str, tuple[list[PointLine], str]] = {
    "an empty text": (
        [PointLine(7, "x", "a", None, {}), PointLine(9, "y", "", None, {})],
        "line 9",
    ),
    "a text among vectors": ([_vector(3, [1] * 4), PointLine(8, "y", "", None, {})], "line 8"),
    "an id twice": ([_vector(3, [1] * 4), _vector(5, [1] * 4, id="v3")], "line 5.id"),
    "another width": ([_vector(3, [1] * 4), _vector(5, [1] * 3)], "line 5.vector"),
    "no id": ([_vector(3, [1] * 4), _vector(6, [1] * 4, id="")], "line 6.id"),
}


@pytest.mark.parametrize(("points", "field"), BAD.values(), ids=BAD)
def test_the_error_of_an_invalid_point_names_its_line(
    operation: CollectionOperations, points: list[PointLine], field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        run(operation.add(NAME, points, _ignore))

    assert caught.value.field == field


def test_the_error_of_a_vector_with_another_width_names_its_line(
    operation: CollectionOperations,
) -> None:
    run(operation.create(NAME, Spec(width=3)))

    with pytest.raises(InvalidVector, match=r"line 4\.vector"):
        run(operation.add(NAME, [_vector(4, [1] * 4)], _ignore))


def test_points_before_an_invalid_line_are_stored_and_reported(
    operation: CollectionOperations,
) -> None:
    points = [*_texts(BATCH), PointLine(900, "wrong", "", None, {})]
    progress: list[int] = []

    with pytest.raises(InvalidInput, match="line 900"):
        run(operation.add(NAME, points, progress.append))
    assert progress == [BATCH]
    assert run(operation.index.describe(NAME, NEVER)).count == BATCH


def test_a_model_that_is_not_served_creates_no_collection(operation: CollectionOperations) -> None:
    with pytest.raises(UnknownModel, match="numbers"):
        run(operation.create(NAME, Spec(model="numbers")))
    assert run(operation.index.collections(NEVER)) == []


def test_with_several_shards_the_width_is_the_models(tmp_path: Path) -> None:
    widths = {}
    for shards in (1, 2):
        service = IndexService(tmp_path / str(shards), shards)
        operation = CollectionOperations(service.as_running())
        widths[shards] = run(operation.create(NAME, Spec())).width
        run(operation.index.delete(NAME, NEVER))
        assert run(operation.index.collections(NEVER)) == []
        service.close()

    assert widths == {1: None, 2: 4}
