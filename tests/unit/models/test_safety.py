"""Files that are refused or ignored before a model is opened."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from embedder.core.errors import UnsafeModel
from embedder.models.safety import check_files
from tests.tiny_models import write_json
from tests.unit.models.model_sources import fill, link_into_blobs


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return fill(tmp_path / "model")


def _touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def _refused(directory: Path, path: Path) -> None:
    with pytest.raises(UnsafeModel, match=re.escape(str(path))):
        check_files(directory)


@pytest.mark.parametrize(
    "name",
    [
        "evil.py",
        "EVIL.PY",
        "sub/deep/x.py",
        ".hidden/x.pyc",
        "model.cpython-311-x86_64-linux-gnu.so",
        "pytorch_model.bin",
        "Pytorch_Model.Bin",
        "1_Pooling/m.pt",
        "m.pth",
        "m.pkl",
        "m.pickle",
        "m.ckpt",
        "m.joblib",
        "tf_model.h5",
        "flax_model.msgpack",
    ],
)
def test_a_file_that_could_run_code_is_ignored_and_reported_once(
    model: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    _touch(model / name)

    check_files(model)
    check_files(model)

    (record,) = caplog.records
    assert record.getMessage() == (
        f"{model}: only safetensors are read; ignored and never opened: {name}"
    )


def test_a_report_of_many_ignored_files_is_short(
    model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(20):
        _touch(model / f"shard-{number:02}.bin")

    check_files(model)

    assert caplog.text.strip().endswith("shard-06.bin, shard-07.bin and 12 more")


@pytest.mark.parametrize(
    "name",
    ["README.md", ".gitattributes", "vocab.txt", "onnx/model.onnx", "spiece.model", "bin", ".py"],
)
def test_a_file_that_cannot_run_code_is_accepted(
    model: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    _touch(model / name)

    check_files(model)

    assert caplog.records == []


@pytest.mark.parametrize(
    "content",
    [
        {"attn_implementation": "someone/kernels"},
        {"_attn_implementation": "someone/kernels@main:run"},
        {"_experts_implementation": {"": "someone/kernels"}},
        {"text_config": {"attn_implementation": {"text": "paged|someone/kernels"}}},
    ],
)
@pytest.mark.parametrize(
    "name", ["config.json", "1_Pooling/config.json", "a/b/config.json", "Config.JSON"]
)
def test_a_config_that_asks_for_kernels_from_the_hub_is_refused(
    model: Path, name: str, content: object
) -> None:
    path = write_json(model / name, content)

    _refused(model, path)


@pytest.mark.parametrize("named", ["sdpa", "eager", "flash_attention_2", None])
def test_an_implementation_built_into_transformers_is_accepted(
    model: Path, named: str | None
) -> None:
    write_json(model / "config.json", {"_attn_implementation": named, "model_type": "a/b"})

    check_files(model)


def test_a_snapshot_of_links_into_blobs_is_read_through_them(tmp_path: Path) -> None:
    snapshot = fill(tmp_path / "snapshots" / "abc")
    write_json(snapshot / "1_Pooling" / "config.json", {"attn_implementation": "a/b"})
    link_into_blobs(snapshot)

    with pytest.raises(UnsafeModel, match="1_Pooling"):
        check_files(snapshot)


def test_a_directory_of_links_to_files_is_accepted(tmp_path: Path) -> None:
    check_files(link_into_blobs(fill(tmp_path / "snapshots" / "abc")))


def test_a_link_to_an_outside_folder_is_refused(model: Path, tmp_path: Path) -> None:
    _touch(tmp_path / "elsewhere" / "evil.py")
    (model / "2_Dense").symlink_to("../elsewhere")

    _refused(model, model / "2_Dense")


def test_a_link_to_an_inside_folder_is_accepted_and_its_target_checked(model: Path) -> None:
    (model / "..data").mkdir()
    (model / "2_Dense").symlink_to("..data")
    (model / "3_Loop").symlink_to(".")

    check_files(model)
    path = write_json(model / "..data" / "config.json", {"attn_implementation": "a/b"})
    _refused(model, path)


def test_a_directory_that_is_itself_a_link_is_checked(model: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to("model")

    check_files(tmp_path / "current")
    write_json(model / "config.json", {"attn_implementation": "a/b"})
    _refused(tmp_path / "current", tmp_path / "current" / "config.json")


def test_broken_and_circular_links_are_accepted(model: Path) -> None:
    (model / "loop").symlink_to("loop")
    (model / "gone").symlink_to("nothing")

    check_files(model)


@pytest.mark.parametrize("name", ["config.json", "1_Pooling/config.json", "model.safetensors"])
def test_a_pipe_is_refused_before_it_is_read(model: Path, name: str) -> None:
    (model / name).unlink()
    os.mkfifo(model / name)

    _refused(model, model / name)


def test_an_unreadable_folder_is_refused(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is simulated, because the superuser can read every folder."""
    scan = os.scandir

    def locked(path: str) -> object:
        if str(path).endswith("1_Pooling"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", locked)

    with pytest.raises(UnsafeModel, match="1_Pooling cannot be looked into: Permission denied"):
        check_files(model)
