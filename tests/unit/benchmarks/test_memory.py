"""What the table of memory says, and that an estimate which is too far off fails the run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import memory
from benchmarks.memory import Line, main, table
from embedder.inference.memory import MIB
from embedder.settings.model import EmbedderSettings


@pytest.mark.parametrize(
    ("estimated", "measured", "ok"),
    [(100, 100, True), (125, 100, True), (126, 100, False), (75, 100, True), (74, 100, False)],
)
def test_an_estimate_may_be_off_by_a_quarter(estimated: int, measured: int, ok: bool) -> None:
    line = Line("m", "float32", 512, estimated, measured)

    assert line.ok is ok


def test_the_table_is_in_mib_and_names_what_is_too_far_off() -> None:
    lines = [
        Line("small", "auto", 512, 110 * MIB, 100 * MIB),
        Line("large", "auto", 512, 50 * MIB, 100 * MIB),
    ]

    header, small, large = table(lines).splitlines()

    assert header.split() == ["model", "dtype", "tokens", "estimated", "measured", "off", "by"]
    assert small.split() == ["small", "auto", "512", "110", "100", "+10%"]
    assert large.split() == ["large", "auto", "512", "50", "100", "-50%", "TOO", "FAR"]


@pytest.mark.parametrize(("measured", "status"), [(480 * MIB, 0), (MIB, 1)])
def test_the_status_tells_whether_all_are_near_enough(
    measured: int, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folders: list[Path] = []
    asked: list[EmbedderSettings] = []

    def measure(settings: EmbedderSettings) -> int:
        asked.append(settings)
        return measured

    monkeypatch.setattr(memory, "write_random_bert", folders.append)
    monkeypatch.setattr(memory, "MODELS", ("all-MiniLM-L6-v2",))
    monkeypatch.setattr(memory, "BUDGETS", (512, 2048))
    monkeypatch.setattr(memory, "measured", measure)

    assert main([]) == status
    assert not folders[0].exists()
    document = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert len(document) == len(asked) == 6
    assert {(one.backend.dtype, one.batching.max_tokens) for one in asked} == {
        (line["dtype"], line["budget"]) for line in document
    }


def test_a_child_prints_its_peak_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = EmbedderSettings(preset="low_memory")
    seen: list[EmbedderSettings] = []

    def peak(given: EmbedderSettings) -> int:
        seen.append(given)
        return 123

    monkeypatch.setattr(memory, "peak_of_this_process", peak)

    assert main(["--child", settings.model_dump_json()]) == 0
    assert capsys.readouterr().out == "123\n"
    assert seen == [settings]
