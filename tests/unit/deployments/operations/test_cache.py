"""What an operator does with a running cache, over shards and ingresses in this process."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import orjson
import pytest

from deployments.cache.replica import CacheReplica
from deployments.cli import main
from deployments.operations import running_service as running
from deployments.operations.cache import WARM_TEXTS, CacheOperations
from deployments.operations.running_service import RunningService
from deployments.settings.service import ServeSettings
from embedder.cache.archive import ArchivedModel, read_archive
from embedder.cache.sharding import owners
from embedder.cache.store.records import FOREVER
from embedder.core.errors import ConfigurationError, UnknownModel
from embedder.core.request import EmbedOptions
from embedder.core.types import Entries, Priority

TAGS = {"letters": b"modelone", "words": b"modeltwo"}
LETTERS = [
    ArchivedModel(tag=tag.hex(), name=name, repository=name, revision="1", dtype="float32", width=4)
    for name, tag in TAGS.items()
]


class Handle:
    """Calls what runs in this process, as a program calls a deployment."""

    def __init__(self, stage: object) -> None:
        self._stage = stage

    def __getattr__(self, method: str) -> Any:
        return _Method(getattr(self._stage, method))

    def broadcast(self, method: str, *arguments: Any) -> Any:
        return _Answer([asyncio.run(getattr(self._stage, method)(*arguments))])


class _Method:
    def __init__(self, method: Any) -> None:
        self._method = method

    def remote(self, *arguments: Any) -> _Answer:
        return _Answer(asyncio.run(self._method(*arguments)))


class _Answer:
    def __init__(self, value: Any) -> None:
        self._value = value

    def result(self) -> Any:
        return self._value

    results = result


class FakeIngress:
    """Remembers what it was to forget and to embed."""

    def __init__(self) -> None:
        self.forgotten: list[bytes | None] = []
        self.embedded: list[tuple[list[str], EmbedOptions, str | None]] = []

    async def local_cache_stats(self) -> dict[str, Any]:
        counters = ("entries", "bytes", "max_bytes", "hits", "misses", "evicted")
        return {"replica": "r1", **dict.fromkeys(counters, 1)}

    async def clear_local_cache(self, tag: bytes | None = None) -> int:
        self.forgotten.append(tag)
        return 1

    async def embed(
        self, texts: Sequence[str], options: EmbedOptions, model: str | None
    ) -> list[str]:
        self.embedded.append((list(texts), options, model))
        return list(texts)


class FakeService:
    """A running service with some shards."""

    def __init__(self, shards: int) -> None:
        self.door = FakeIngress()
        self.ingress = Handle(self.door)
        self.caches = [
            CacheReplica(ServeSettings(data_directory=None), f"EmbeddingCache-{shard}")
            for shard in range(shards)
        ]

    def shards(self, deployment: str) -> dict[str, Handle]:
        return {f"{deployment}-{at}": Handle(shard) for at, shard in enumerate(self.caches)}

    def fill(self, count: int) -> None:
        """Put entries of two models where they belong."""
        keys = [
            tag + hashlib.blake2b(str(number).encode(), digest_size=24).digest()
            for tag in TAGS.values()
            for number in range(count)
        ]
        numbers = np.arange(len(keys))
        vectors = np.repeat(numbers, 4).reshape(-1, 4).astype(np.float32)
        entries = Entries(vectors, numbers.astype(np.int32), numbers % 2 == 0)
        owner = owners(keys, len(self.caches))
        for number, shard in enumerate(self.caches):
            rows = np.flatnonzero(owner == number)
            asyncio.run(shard.put_many([keys[row] for row in rows.tolist()], entries.take(rows)))
            for model in LETTERS:
                asyncio.run(shard.serves(model))

    def content(self) -> dict[bytes, tuple[list[float], int, float]]:
        """Return everything that the shards hold."""
        found = {}
        for shard in self.caches:
            for records in asyncio.run(shard.records(asyncio.run(shard.keys()))):
                for row, key in enumerate(records.keys):
                    vector = records.entries.vectors[row].tolist()
                    count = int(records.entries.token_counts[row])
                    found[key] = (vector, count, float(records.ttls_s[row]))
        return found


def _operation(service: FakeService) -> CacheOperations:
    return CacheOperations(cast("RunningService", service))


def _ignore(count: int) -> None:
    """Draw nothing."""


def test_an_archive_moves_a_cache_to_another_number_of_shards(tmp_path: Path) -> None:
    old, new = FakeService(3), FakeService(2)
    old.fill(100)
    told: list[int] = []
    manifest = _operation(old).export_to(tmp_path / "archive", told.append)
    taken = _operation(new).import_from(tmp_path / "archive", told.append)

    assert manifest.count == taken == 200
    assert sum(told) == 400
    assert manifest.models == tuple(LETTERS)
    assert read_archive(tmp_path / "archive") == manifest
    assert new.content() == old.content()
    assert {life for _, _, life in new.content().values()} == {FOREVER}
    for number, shard in enumerate(new.caches):
        assert set(owners(asyncio.run(shard.keys()), 2).tolist()) == {number}


def test_one_model_is_forgotten_in_every_shard_and_ingress() -> None:
    service = FakeService(3)
    service.fill(50)

    assert _operation(service).purge("words") == 50
    assert {key[:8] for key in service.content()} == {TAGS["letters"]}
    assert service.door.forgotten == [TAGS["words"]]


def test_a_model_that_was_never_served_is_refused() -> None:
    with pytest.raises(UnknownModel, match="other"):
        _operation(FakeService(1)).purge("other")


def test_everything_is_forgotten_in_every_shard_and_ingress() -> None:
    service = FakeService(3)
    service.fill(50)

    assert _operation(service).clear() == 100
    assert service.content() == {}
    assert service.door.forgotten == [None]


def test_texts_are_embedded_as_bulk_work_a_part_at_a_time() -> None:
    service = FakeService(1)
    texts = [f"text {number}" for number in range(5 * WARM_TEXTS + 7)]
    told: list[int] = []

    assert _operation(service).warm(iter(texts), "letters", told.append) == sum(told) == len(texts)
    assert [text for part, _, _ in service.door.embedded for text in part] == texts
    assert {len(part) for part, _, _ in service.door.embedded} == {WARM_TEXTS, 7}
    assert {(options.priority, model) for _, options, model in service.door.embedded} == {
        (Priority.BULK, "letters")
    }


@pytest.fixture
def running_fake(monkeypatch: pytest.MonkeyPatch) -> FakeService:
    """Return the service that commands find running."""
    service = FakeService(2)
    service.fill(10)

    @contextmanager
    def connected(*_: object) -> Iterator[FakeService]:
        yield service

    monkeypatch.setattr(running, "running_service", connected)
    return service


@pytest.mark.usefixtures("running_fake")
def test_the_command_prints_a_line_for_every_cache(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "stats"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert main(["cache", "stats", "--json"]) == 0
    told = orjson.loads(capsys.readouterr().out)

    names = ["EmbeddingCache-0", "EmbeddingCache-1", "Ingress r1"]
    assert [line.split("  ")[0] for line in table[1:]] == names
    assert list(told) == names
    assert told["EmbeddingCache-0"]["entries"] + told["EmbeddingCache-1"]["entries"] == 20


def test_the_command_carries_and_empties(
    running_fake: FakeService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = str(tmp_path / "archive")
    before = running_fake.content()
    for arguments in (["export", archive], ["clear"], ["import", archive]):
        assert main(["cache", *arguments]) == 0
    assert running_fake.content() == before
    assert main(["cache", "purge", "--model", "words"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"20 entries are in {archive}",
        "20 entries are forgotten",
        "20 entries were taken over",
        "10 entries are forgotten",
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("texts.txt", b"one\n\ntwo\r\nthree"),
        ("texts.jsonl", b'{"text": "one"}\n{"text": "two", "more": 1}\n{"text": "three"}\n'),
    ],
)
def test_the_command_warms_from_a_file(
    running_fake: FakeService, name: str, content: bytes, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)

    assert main(["cache", "warm", str(tmp_path / name), "--model", "letters"]) == 0
    assert [part for part, _, _ in running_fake.door.embedded] == [["one", "two", "three"]]


@pytest.mark.usefixtures("running_fake")
@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("missing.txt", None, "cannot be read"),
        ("texts.txt", b"\xff\xfe", "cannot be read"),
        ("texts.txt.gz", b"no gzip", "cannot be read"),
        ("texts.jsonl", b'{"text": "one"}\n{"txt": 1}\n', "key 'text' in line 2"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    name: str,
    content: bytes | None,
    problem: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)

    assert main(["cache", "warm", str(tmp_path / name)]) == 1
    assert problem in capsys.readouterr().err


def test_where_no_service_runs_that_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("deployments.operations.addressing.ray_addresses", dict)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    assert main(["cache", "stats"]) == 1
    assert "start it with 'embedder serve'" in capsys.readouterr().err
    with pytest.raises(ConfigurationError), running.running_service():
        pass
