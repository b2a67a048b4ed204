"""Calibrations are written, read and chosen by hardware and model."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedder.core.errors import ConfigurationError
from embedder.planning.calibration import Calibration, choose
from tests.unit.planning.calibrations import ENCODER, ON_A_GPU, ON_CPUS

OTHER_MODEL = ON_CPUS.model_copy(
    update={"encoder": ENCODER.model_copy(update={"model": "bge-small-en-v1.5"})}
)


def _files(folder: Path, *calibrations: Calibration) -> list[Path]:
    paths = [folder / f"{number}.yaml" for number in range(len(calibrations))]
    for path, calibration in zip(paths, calibrations, strict=True):
        calibration.save(path)
    return paths


def test_a_written_calibration_is_read_again(tmp_path: Path) -> None:
    assert choose(_files(tmp_path, ON_CPUS), None, None) == ON_CPUS


def test_hardware_and_model_choose_one_of_several(tmp_path: Path) -> None:
    files = _files(tmp_path, ON_CPUS, ON_A_GPU, OTHER_MODEL)

    assert choose(files, "a GPU", None) == ON_A_GPU
    assert choose(files, "a processor", "bge-small-en-v1.5") == OTHER_MODEL


@pytest.mark.parametrize(
    ("hardware", "model", "says"),
    [
        ("NVIDIA L4", None, "'NVIDIA L4' was not measured .* embedder plan --measure FILE"),
        ("a GPU", "bge-small-en-v1.5", "'a GPU' was not measured with bge-small-en-v1.5; measured"),
        ("a processor", None, "several calibrations match; choose one by --hardware and --model"),
    ],
)
def test_unmeasured_or_ambiguous_hardware_is_refused(
    tmp_path: Path, hardware: str, model: str | None, says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        choose(_files(tmp_path, ON_CPUS, ON_A_GPU, OTHER_MODEL), hardware, model)


def test_a_file_that_is_no_calibration_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "calibration.yaml"
    path.write_text("hardware: a processor\n")

    with pytest.raises(
        ConfigurationError, match=r"(?s)calibration\.yaml is no calibration.*encoder: "
    ):
        choose([path], None, None)


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot write"):
        ON_CPUS.save(tmp_path / "missing" / "calibration.yaml")


def test_times_between_measured_lengths_and_batches_are_interpolated() -> None:
    assert ENCODER.alone_s(64) == pytest.approx(0.004)
    assert ENCODER.alone_s(160) == pytest.approx(0.009)
    assert ENCODER.batch_s(64, 32) == pytest.approx(0.097)
    assert ENCODER.batch_s(64, 11) == pytest.approx(0.004 + 10 * 0.003)
    assert ENCODER.batch_s(64, 1) == ENCODER.alone_s(64)
