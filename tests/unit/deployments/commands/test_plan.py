"""`embedder plan --rate` prints a plan and settings that can be read, and names wrong options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from deployments.cli import main
from deployments.operations import calibrating
from deployments.settings.service import ServeSettings
from embedder.settings.model import EmbedderSettings
from embedder.settings.sources import load
from tests.unit.planning.calibrations import ON_A_GPU, ON_CPUS


@pytest.fixture
def calibration(tmp_path: Path) -> list[str]:
    """Return the arguments that name two calibrations."""
    files = tmp_path / "cpus.yaml", tmp_path / "gpu.yaml"
    for path, one in zip(files, (ON_CPUS, ON_A_GPU), strict=True):
        one.save(path)
    return ["--calibration", *map(str, files)]


DEMAND = ["plan", "--rate", "5000", "--p99-ms", "200", "--tokens", "64"]
NODE = ["--node-cpus", "16", "--spare-nodes", "1", "--price-per-hour", "0.5"]


def test_the_output_is_a_table_and_settings_of_the_service(
    calibration: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*DEMAND, *NODE, *calibration, "--hardware", "a processor"]) == 0
    printed = capsys.readouterr().out
    settings = load(ServeSettings, file=yaml.safe_load(printed)).settings

    assert "bottleneck: encoder" in printed
    assert "cost of a million tokens: " in printed
    (pool,) = settings.encoder.pools
    assert pool.hardware == "cpu"
    assert 1 < pool.min_replicas <= pool.max_replicas
    assert settings.batching.max_tokens is not None


def test_a_node_of_more_replicas_than_ray_limits_has_no_such_limit(
    calibration: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    demand = ["plan", "--rate", "90000", "--p99-ms", "200", "--tokens", "64", "--json"]
    node = ["--node-cpus", "512", "--node-memory-gb", "1000", "--hardware", "a processor"]
    assert main([*demand, *node, *calibration]) == 0
    settings = orjson.loads(capsys.readouterr().out)["settings"]

    assert "max_replicas_per_node" not in settings["encoder"]["pools"][0]
    assert load(ServeSettings, file=settings).settings.tokenizer.max_replicas_per_node == 1


def test_json_has_every_figure(calibration: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*DEMAND, *NODE, *calibration, "--hardware", "a GPU", "--json"]) == 0
    plan: dict[str, Any] = orjson.loads(capsys.readouterr().out)

    ingress, tokenizer, encoder = plan["stages"]
    assert [ingress["name"], tokenizer["name"], encoder["name"]] == list(
        ("ingress", "tokenizer", "encoder")
    )
    assert plan["nodes"] >= 2
    assert plan["cost_per_million_tokens"] > 0
    assert plan["settings"]["encoder"]["pools"][0]["hardware"] == "gpu"
    # With the spare node's share, so that the rest suffices when a node is lost.
    assert plan["settings"]["ingress"]["min_replicas"] == (
        ingress["replicas"] + ingress["per_node"]
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--p99-ms", "1"], "'--p99-ms' is 1; the smallest reachable is "),
        (["--rate", "0"], "'--rate' is 0.0; it must be above 0"),
        (["--tokens", "300"], "'--tokens' has 300 tokens; the limit is 256"),
        (["--node-cpus", "1"], "'--node-cpus' is 1; one replica of each stage takes "),
        (["--hardware", "NVIDIA L4"], "'NVIDIA L4' was not measured with any model"),
        (["--max-memory-gb", "1"], "--max-memory-gb has no effect with --rate; leave it out"),
        (["--measure", "x.yaml"], "--rate has no effect with --measure; leave it out"),
    ],
)
def test_an_option_that_cannot_be_kept_is_named(
    calibration: list[str], arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*DEMAND, "--hardware", "a processor", *calibration, *arguments]) == 1
    captured = capsys.readouterr()

    assert says in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--rate", "5", "--tokens", "8"], "--rate needs --p99-ms too"),
        (["--rate", "5", "--p99-ms", "8"], "--rate needs --tokens too"),
        (["--json"], "--json has no effect without --rate; leave it out"),
        (["--hardware", "x"], "--hardware has no effect without --rate; leave it out"),
    ],
)
def test_options_of_a_rate_need_each_other(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *arguments]) == 1
    assert says in capsys.readouterr().err


def test_a_calibration_is_written_by_a_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[EmbedderSettings, str | None]] = []

    def calibrate(settings: EmbedderSettings, hardware: str | None) -> Any:
        asked.append((settings, hardware))
        return ON_CPUS

    monkeypatch.setattr(calibrating, "calibrate", calibrate)
    file = tmp_path / "calibration.yaml"

    assert main(["plan", "--measure", str(file), "--set", "backend.dtype=float32"]) == 0
    assert asked[0][0].backend.dtype == "float32"
    assert main([*DEMAND, "--calibration", str(file)]) == 0
    assert "a processor" in capsys.readouterr().out
