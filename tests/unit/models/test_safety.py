"""What is refused before anything of a model is opened."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from embedder.errors import UnsafeModel
from embedder.models.safety import (
    check_directory,
    check_snapshot,
)
from tests.tiny_models import write_json
from tests.unit.models.places import fill, link_into_blobs


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return fill(tmp_path / "model")


def _touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def _refused(directory: Path, path: Path) -> None:
    with pytest.raises(UnsafeModel, match=re.escape(str(path))):
        check_directory(directory)


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
def test_a_file_that_could_run_code_is_refused_by_its_path(model: Path, name: str) -> None:
    _refused(model, _touch(model / name))


@pytest.mark.parametrize(
    "name",
    ["README.md", ".gitattributes", "vocab.txt", "onnx/model.onnx", "spiece.model", "bin", ".py"],
)
def test_a_file_that_cannot_run_code_is_let_be(model: Path, name: str) -> None:
    _touch(model / name)

    check_directory(model)


@pytest.mark.parametrize("native", [False, True])
def test_a_snapshot_may_hold_foreign_files_that_nobody_opens(model: Path, native: bool) -> None:
    for name in ("pytorch_model.bin", "train_script.py", "openvino/model.bin"):
        _touch(model / name)

    check_snapshot(model, native=native)


@pytest.mark.parametrize(
    "name", ["config.json", "1_Pooling/config.json", "a/b/config.json", "Config.JSON"]
)
@pytest.mark.parametrize(
    "content",
    [
        {"auto_map": {"AutoModel": "x.Y"}},
        {"auto_map": None},
        {"text_config": {"auto_map": {}}},
        [{"auto_map": {}}],
    ],
)
def test_a_config_that_asks_for_code_of_its_own_is_refused(
    model: Path, name: str, content: object
) -> None:
    path = write_json(model / name, content)

    _refused(model, path)
    with pytest.raises(UnsafeModel, match=re.escape(str(path))):
        check_snapshot(model, native=False)


def test_a_native_row_vouches_for_a_snapshot_but_not_for_a_directory(model: Path) -> None:
    path = write_json(model / "config.json", {"auto_map": {"AutoModel": "x.Y"}})

    check_snapshot(model, native=True)
    _refused(model, path)


def test_other_configs_may_ask_for_code_in_a_snapshot_since_nobody_opens_them(
    model: Path,
) -> None:
    path = write_json(model / "tokenizer_config.json", {"auto_map": {"AutoTokenizer": "x.Y"}})

    check_snapshot(model, native=False)
    _refused(model, path)


@pytest.mark.parametrize(
    "content",
    [
        {"attn_implementation": "someone/kernels"},
        {"_attn_implementation": "someone/kernels@main:run"},
        {"_experts_implementation": {"": "someone/kernels"}},
        {"text_config": {"attn_implementation": {"text": "paged|someone/kernels"}}},
    ],
)
@pytest.mark.parametrize("native", [False, True])
def test_a_config_that_asks_for_kernels_from_the_hub_is_refused(
    model: Path, content: object, native: bool
) -> None:
    path = write_json(model / "config.json", content)

    _refused(model, path)
    with pytest.raises(UnsafeModel, match="implementation"):
        check_snapshot(model, native=native)


@pytest.mark.parametrize("named", ["sdpa", "eager", "flash_attention_2", None])
def test_an_implementation_that_transformers_has_itself_is_let_be(
    model: Path, named: str | None
) -> None:
    write_json(model / "config.json", {"_attn_implementation": named, "model_type": "a/b"})

    check_directory(model)


def test_a_snapshot_of_links_into_blobs_is_read_through_them(tmp_path: Path) -> None:
    snapshot = fill(tmp_path / "snapshots" / "abc")
    write_json(snapshot / "1_Pooling" / "config.json", {"auto_map": {}})
    link_into_blobs(snapshot)

    with pytest.raises(UnsafeModel, match="1_Pooling"):
        check_snapshot(snapshot, native=False)


def test_a_directory_of_links_to_files_elsewhere_is_let_be(tmp_path: Path) -> None:
    check_directory(link_into_blobs(fill(tmp_path / "snapshots" / "abc")))


def test_a_link_is_judged_by_the_name_that_it_is_opened_by(model: Path) -> None:
    (model / "evil.py").symlink_to("config.json")

    _refused(model, model / "evil.py")


def test_a_link_to_a_folder_elsewhere_is_refused_since_it_would_go_unchecked(
    model: Path, tmp_path: Path
) -> None:
    _touch(tmp_path / "elsewhere" / "evil.py")
    (model / "2_Dense").symlink_to("../elsewhere")

    _refused(model, model / "2_Dense")


def test_a_link_to_a_folder_within_is_let_be_and_checked_where_it_leads(model: Path) -> None:
    (model / "..data").mkdir()
    (model / "2_Dense").symlink_to("..data")
    (model / "3_Loop").symlink_to(".")

    check_directory(model)
    _refused(model, _touch(model / "..data" / "evil.py"))


def test_a_directory_that_is_itself_a_link_is_checked(model: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to("model")

    check_directory(tmp_path / "current")
    _touch(model / "evil.py")
    _refused(tmp_path / "current", tmp_path / "current" / "evil.py")


def test_links_that_lead_nowhere_are_not_followed_for_ever(model: Path) -> None:
    (model / "loop").symlink_to("loop")
    (model / "gone").symlink_to("nothing")

    check_directory(model)


@pytest.mark.parametrize("name", ["config.json", "1_Pooling/config.json", "model.safetensors"])
def test_a_pipe_is_refused_before_anybody_waits_for_its_end(model: Path, name: str) -> None:
    (model / name).unlink()
    os.mkfifo(model / name)

    _refused(model, model / name)


def test_a_folder_that_cannot_be_looked_into_is_refused(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told by the operating system, which lets the superuser look into everything."""
    scan = os.scandir

    def locked(path: str) -> object:
        if str(path).endswith("1_Pooling"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", locked)

    with pytest.raises(UnsafeModel, match="1_Pooling cannot be looked into: Permission denied"):
        check_directory(model)
