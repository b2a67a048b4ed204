"""``embedder cache`` on the command line, over a service in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest

from deployments.cli import main
from deployments.commands import connecting
from deployments.launch.services.choice import Candidate
from deployments.operations import running_service as running
from tests.unit.deployments.operations.cache_service import CacheService


@pytest.fixture
def running_fake(monkeypatch: pytest.MonkeyPatch) -> CacheService:
    """Return the service that commands find running."""
    service = CacheService(2)
    service.fill(10)

    @contextmanager
    def connected(*_: object) -> Iterator[CacheService]:
        yield service

    monkeypatch.setattr(running, "running_service", connected)
    monkeypatch.setattr(connecting, "candidates", lambda: [Candidate("10.0.0.1:6379")])
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return service


@pytest.mark.usefixtures("running_fake")
def test_the_command_prints_a_line_for_every_cache(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "stats"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert main(["cache", "stats", "--json"]) == 0
    stats = orjson.loads(capsys.readouterr().out)

    names = ["EmbeddingCache-0", "EmbeddingCache-1", "Ingress r1"]
    assert [line.split("  ")[0] for line in table[1:]] == names
    assert list(stats) == names
    assert stats["EmbeddingCache-0"]["entries"] + stats["EmbeddingCache-1"]["entries"] == 20


def test_the_command_exports_clears_and_imports(
    running_fake: CacheService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = str(tmp_path / "archive")
    before = running_fake.content()
    for arguments in (["export", archive], ["clear"], ["import", archive]):
        assert main(["cache", *arguments]) == 0
    assert running_fake.content() == before
    assert main(["cache", "purge", "--model", "words"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"20 entries are in {archive}",
        "20 entries are deleted",
        "20 entries are imported",
        "10 entries are deleted",
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("texts.txt", b"one\n\ntwo\r\nthree"),
        ("texts.jsonl", b'{"text": "one"}\n{"text": "two", "more": 1}\n{"text": "three"}\n'),
    ],
)
def test_the_command_warms_from_a_file(
    running_fake: CacheService, name: str, content: bytes, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)

    assert main(["cache", "warm", str(tmp_path / name), "--model", "letters"]) == 0
    assert [part for part, _, _ in running_fake.fake_ingress.embedded] == [["one", "two", "three"]]


@pytest.mark.usefixtures("running_fake")
@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("missing.txt", None, "cannot be read"),
        ("texts.txt", b"\xff\xfe", "cannot be read"),
        ("texts.txt.gz", b"no gzip", "cannot be read"),
        (
            "texts.jsonl",
            b'{"text": "one"}\n{"txt": 1}\n',
            "line 2 must be a JSON object with the key 'text'",
        ),
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


def test_without_a_running_service_the_command_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(connecting, "candidates", list)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    assert main(["cache", "stats"]) == 1
    assert "start it with 'embedder serve'" in capsys.readouterr().err
