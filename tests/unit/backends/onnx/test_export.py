"""An exported graph equals the weights, or the export fails."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from embedder.backends import onnx_export
from embedder.backends.onnx_export import GRAPH, INPUTS, OPSETS, OUTPUT, export_graph, graph_key
from embedder.core.errors import MissingExtra, UnsupportedModel
from embedder.models.files import ModelFiles
from embedder.settings.model import ModelSettings
from tests.tiny_models import BERT_CONFIG, VOCABULARY, write_layout, write_tiny_bert

Export = Callable[..., None]


def _write_tiny_roberta(directory: Path) -> Path:
    """Write an encoder whose positions depend on which ids are padding."""
    from transformers import RobertaConfig, RobertaModel

    kept = ("hidden_size", "intermediate_size", "num_attention_heads")
    config = {**{key: BERT_CONFIG[key] for key in kept}, "num_hidden_layers": 1}
    torch.manual_seed(7)
    model = RobertaModel(
        RobertaConfig(**config, vocab_size=len(VOCABULARY), max_position_embeddings=40),
        add_pooling_layer=False,
    )
    write_layout(directory)
    model.save_pretrained(directory)
    return directory


def _files(directory: Path) -> ModelFiles:
    return ModelFiles.open(ModelSettings(name=str(directory)))


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    return _files(_write_tiny_roberta(tmp_path_factory.mktemp("roberta")))


@pytest.fixture(scope="module")
def exported(roberta: ModelFiles, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Export once; return the folder and the printed text."""
    folder = tmp_path_factory.mktemp("graph")
    with redirect_stdout(io.StringIO()) as printed:
        export_graph(roberta, folder)
    return folder, printed.getvalue()


@pytest.mark.parametrize("lengths", [[1], [24], [3, 1], [5, 17, 11, 2]])
def test_a_graph_gives_the_hidden_states_of_transformers_for_any_block(
    roberta: ModelFiles, exported: tuple[Path, str], lengths: list[int]
) -> None:
    from transformers import RobertaModel

    model = RobertaModel.from_pretrained(roberta.source.directory, add_pooling_layer=False).eval()
    shape = (len(lengths), max(lengths))
    ids = np.random.default_rng(3).integers(2, len(VOCABULARY), size=shape)
    mask = (np.arange(shape[1]) < np.array(lengths)[:, None]).astype(np.int64)
    with torch.inference_mode():
        hidden = model(torch.from_numpy(ids), torch.from_numpy(mask)).last_hidden_state.numpy()

    session = onnxruntime.InferenceSession(exported[0] / GRAPH, providers=["CPUExecutionProvider"])
    (found,) = session.run([OUTPUT], dict(zip(INPUTS, (ids, mask), strict=True)))

    np.testing.assert_allclose(found[mask > 0], hidden[mask > 0], atol=1e-5, rtol=0)


def test_an_export_prints_nothing_and_leaves_the_weights_in_one_file(
    exported: tuple[Path, str],
) -> None:
    folder, printed = exported

    assert printed == ""
    assert {path.name for path in folder.iterdir()} == {GRAPH, f"{GRAPH}.data"}


@pytest.fixture
def opsets(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Replace exports, and list their opsets."""
    tried: list[int] = []

    def pretend(model: object, files: ModelFiles, path: Path, opset: int) -> None:
        tried.append(opset)
        path.touch()

    monkeypatch.setattr(onnx_export, "_export", pretend)
    return tried


def _set_cosines(monkeypatch: pytest.MonkeyPatch, *cosines: float) -> None:
    found = iter(cosines)
    monkeypatch.setattr(onnx_export, "_worst_cosine", lambda *_: next(found))


def test_the_first_opset_with_an_accurate_graph_is_used(
    monkeypatch: pytest.MonkeyPatch, roberta: ModelFiles, opsets: list[int], tmp_path: Path
) -> None:
    _set_cosines(monkeypatch, 0.9, 1.0)

    export_graph(roberta, tmp_path)

    assert opsets == list(OPSETS)
    assert (tmp_path / GRAPH).exists()


def test_an_inaccurate_graph_is_refused(
    monkeypatch: pytest.MonkeyPatch, roberta: ModelFiles, opsets: list[int], tmp_path: Path
) -> None:
    _set_cosines(monkeypatch, 0.9, float("nan"))

    with pytest.raises(
        UnsupportedModel, match=r"'roberta', which cannot.*hidden states is only nan"
    ):
        export_graph(roberta, tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_a_graph_of_other_weights_is_refused(
    exported: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = _write_tiny_roberta(tmp_path / "other")
    tensors = torch.randn(len(VOCABULARY), int(BERT_CONFIG["hidden_size"]))
    _replace_tensor(other / "model.safetensors", "embeddings.word_embeddings.weight", tensors)
    (tmp_path / "graph").mkdir()

    def stale(model: object, files: ModelFiles, path: Path, opset: int) -> None:
        shutil.copytree(exported[0], path.parent, dirs_exist_ok=True)

    monkeypatch.setattr(onnx_export, "_export", stale)

    with pytest.raises(UnsupportedModel, match=r"hidden states is only -?0\.\d+"):
        export_graph(_files(other), tmp_path / "graph")


def _replace_tensor(path: Path, name: str, tensor: torch.Tensor) -> None:
    from safetensors.torch import load_file, save_file

    save_file({**load_file(path), name: tensor}, path, metadata={"format": "pt"})


def test_the_error_of_the_exporter_is_reported_in_one_line(
    monkeypatch: pytest.MonkeyPatch, roberta: ModelFiles, tmp_path: Path
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no such operator\nand a page of advice")

    monkeypatch.setattr(torch.onnx, "export", fail)

    with pytest.raises(UnsupportedModel, match=r"RuntimeError: no such operator$"):
        export_graph(roberta, tmp_path)


def test_a_missing_exporter_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, roberta: ModelFiles, tmp_path: Path
) -> None:
    def miss(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'onnxscript'")

    monkeypatch.setattr(torch.onnx, "export", miss)

    with pytest.raises(MissingExtra, match=r"onnxscript.*embedder\[onnx\]"):
        export_graph(roberta, tmp_path)


def test_the_key_depends_on_weights_config_and_format(tmp_path: Path) -> None:
    files = _files(write_tiny_bert(tmp_path / "a"))
    same = _files(write_tiny_bert(tmp_path / "b"))
    keys = {
        graph_key(files, "float32"),
        graph_key(files, "int8"),
        graph_key(replace(files, config={**files.config, "layer_norm_eps": 1e-3}), "float32"),
        graph_key(_files(_write_tiny_roberta(tmp_path / "c")), "float32"),
    }

    assert len(keys) == 4
    assert graph_key(same, "float32") in keys
    assert all(key.isalnum() for key in keys)
