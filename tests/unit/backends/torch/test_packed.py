"""The packed forward pass gives the hidden states of transformers for each text alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from embedder.backends.torch import onednn_attention
from embedder.backends.torch.embeddings import token_positions
from embedder.backends.torch.packed import PackedForward
from embedder.backends.torch.relative_positions import relative_position_buckets
from embedder.core.errors import UnsupportedModel
from embedder.core.types import TokenBatch
from tests.tiny_models import VOCABULARY, write_layout, write_tiny_bert
from tests.unit.backends.conftest import WriteModel
from tests.unit.backends.parity import hidden_states, open_files, transformers_hidden_states

PADDING = 1
INPUTS = [[5], [6, 7], list(range(40)), [PADDING, 9, PADDING, 8], [PADDING], [4] * 17]


@pytest.mark.parametrize("name", ["bert", "roberta", "mpnet", "distilbert"])
def test_every_token_has_the_hidden_state_that_transformers_gives_it(
    name: str, model_of: WriteModel
) -> None:
    directory = model_of(name)

    found = hidden_states(directory, INPUTS)

    np.testing.assert_allclose(
        found, transformers_hidden_states(directory, INPUTS), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("name", ["bert", "mpnet"])
def test_long_and_short_inputs_of_a_batch_are_accurate_in_bfloat16(
    name: str, model_of: WriteModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inputs above the limit are computed by another kernel."""
    monkeypatch.setattr(onednn_attention, "MAX_TOKENS", 8)
    files = open_files(model_of(name))
    tokens = TokenBatch.of([list(range(4, 4 + length)) for length in (1, 7, 8, 9, 10, 10, 36)])
    exact, narrow = (
        PackedForward.load(files, dtype=dtype, device=torch.device("cpu"))(tokens)
        for dtype in (torch.float32, torch.bfloat16)
    )
    cosines = torch.nn.functional.cosine_similarity(exact, narrow.float())
    assert cosines.min() > 0.999


@pytest.mark.parametrize("activation", ["gelu_new", "gelu_pytorch_tanh"])
def test_the_approximate_gelus_are_those_of_transformers(tmp_path: Path, activation: str) -> None:
    directory = write_tiny_bert(tmp_path, hidden_act=activation, layer_norm_eps=1e-3)

    found = hidden_states(directory, INPUTS)

    np.testing.assert_allclose(
        found, transformers_hidden_states(directory, INPUTS), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("prefix", ["bert.", "model.encoder."])
def test_a_checkpoint_with_a_task_head_is_the_same_model(
    tiny: Path, tmp_path: Path, prefix: str
) -> None:
    tensors = load_file(tiny / "model.safetensors")
    headed = {f"{prefix}{name}": tensor for name, tensor in tensors.items()}
    headed["classifier.weight"] = torch.ones(2, 32)
    save_file(headed, write_layout(tmp_path) / "model.safetensors")

    assert (hidden_states(tmp_path, INPUTS) == hidden_states(tiny, INPUTS)).all()


def test_the_tensorflow_names_of_layer_norms_are_supported(tiny: Path, tmp_path: Path) -> None:
    old = {
        name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): tensor
        for name, tensor in load_file(tiny / "model.safetensors").items()
    }
    save_file(old, write_layout(tmp_path) / "model.safetensors")

    assert any(name.endswith("gamma") for name in old)
    assert (hidden_states(tmp_path, INPUTS) == hidden_states(tiny, INPUTS)).all()


def test_a_missing_tensor_is_refused_by_name(tiny: Path, tmp_path: Path) -> None:
    tensors = load_file(tiny / "model.safetensors")
    del tensors["encoder.layer.2.output.dense.bias"]
    save_file(tensors, write_layout(tmp_path) / "model.safetensors")

    with pytest.raises(UnsupportedModel, match=r"encoder\.layer\.2\.output\.dense\.bias"):
        hidden_states(tmp_path, INPUTS)


def test_weights_without_a_text_encoder_are_refused(tmp_path: Path) -> None:
    save_file({"weight": torch.ones(2)}, write_layout(tmp_path) / "model.safetensors")

    with pytest.raises(UnsupportedModel, match="word_embeddings"):
        hidden_states(tmp_path, INPUTS)


def test_a_damaged_file_is_refused_by_name(tiny: Path, tmp_path: Path) -> None:
    damaged = (tiny / "model.safetensors").read_bytes()[:-4]
    (write_layout(tmp_path) / "model.safetensors").write_bytes(damaged)

    with pytest.raises(UnsupportedModel, match=r"model\.safetensors cannot be read"):
        hidden_states(tmp_path, INPUTS)


def test_a_missing_shard_is_refused_by_name(tmp_path: Path) -> None:
    index = {"weight_map": {"weight": "model-00001-of-00001.safetensors"}}
    (write_layout(tmp_path) / "model.safetensors.index.json").write_text(json.dumps(index))

    with pytest.raises(UnsupportedModel, match="00001-of-00001"):
        hidden_states(tmp_path, INPUTS)


def test_a_file_that_changes_after_loading_changes_no_vector(tiny: Path, tmp_path: Path) -> None:
    path = write_tiny_bert(tmp_path) / "model.safetensors"
    files = open_files(tmp_path)
    forward = PackedForward.load(files, dtype=torch.float32, device=torch.device("cpu"))
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(bytes(path.stat().st_size // 2))

    with torch.inference_mode():
        found = forward(TokenBatch.of(INPUTS)).numpy()

    assert (found == hidden_states(tiny, INPUTS)).all()


def test_relative_position_buckets_are_those_of_mpnet() -> None:
    from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

    distances = torch.arange(-600, 601)

    expected = MPNetEncoder.relative_position_bucket(distances)

    assert relative_position_buckets(distances).tolist() == expected.tolist()


@given(st.lists(st.lists(st.sampled_from([0, PADDING, 5]), max_size=9), max_size=6))
def test_positions_are_those_of_roberta(inputs: list[list[int]]) -> None:
    from transformers.models.roberta.modeling_roberta import RobertaEmbeddings

    expected = [
        RobertaEmbeddings.create_position_ids_from_input_ids(torch.tensor([ids]), PADDING)[0]
        for ids in inputs
        if ids
    ]

    found = token_positions(TokenBatch.of(inputs), PADDING)

    assert found.tolist() == [place for row in expected for place in row.tolist()]


@given(st.lists(st.integers(0, len(VOCABULARY)), max_size=6))
def test_positions_without_a_padding_id_count_from_zero(lengths: list[int]) -> None:
    found = token_positions(TokenBatch.of([range(length) for length in lengths]), -1)

    assert found.tolist() == [place for length in lengths for place in range(length)]
