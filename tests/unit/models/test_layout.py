"""The modules of a model and their order."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from embedder.core.errors import UnsupportedModel
from embedder.models.heads.dense import ACTIVATIONS, Dense
from embedder.models.layout import Layout, read_layout
from embedder.models.modules import MODULES
from tests.tiny_models import write_json
from tests.unit.models.module_files import NEW, OLD, write_modules

TANH = "torch.nn.modules.activation.Tanh"


def _dense(directory: Path, **config: object) -> Layout:
    write_modules(directory, "Transformer", "Pooling", "Dense")
    write_json(directory / "2_Dense" / "config.json", config)
    return read_layout(directory, pooling=None)


@pytest.mark.parametrize("types", [OLD, NEW], ids=["release 2", "release 6"])
def test_the_modules_are_known_in_every_release(tmp_path: Path, types: Mapping[str, str]) -> None:
    kinds = ("Transformer", "Pooling", "Dense", "Dense", "Normalize")

    layout = read_layout(write_modules(tmp_path, *kinds, types=types), pooling=None)

    assert layout == Layout(
        transformer=tmp_path,
        pooling=("mean",),
        dense=(Dense(tmp_path / "2_Dense", "tanh"), Dense(tmp_path / "3_Dense", "tanh")),
        normalizes=True,
    )


def test_a_model_need_not_normalise(tmp_path: Path) -> None:
    layout = read_layout(write_modules(tmp_path, "Transformer", "Pooling"), pooling=None)

    assert (layout.normalizes, layout.dense) == (False, ())


def test_a_transformer_may_have_a_folder_of_its_own(tmp_path: Path) -> None:
    folders = {"0_Transformer": "Transformer", "1_Pooling": "Pooling"}
    entries = [{"path": path, "type": OLD[kind]} for path, kind in folders.items()]
    write_json(tmp_path / MODULES, entries)
    write_json(tmp_path / "1_Pooling" / "config.json", {})

    assert read_layout(tmp_path, pooling=None).transformer == tmp_path / "0_Transformer"


@pytest.mark.parametrize(
    "kinds",
    [
        (),
        ("Pooling",),
        ("Pooling", "Transformer"),
        ("Transformer", "Transformer", "Pooling"),
        ("Transformer", "Pooling", "Pooling"),
        ("Transformer", "Dense", "Pooling"),
        ("Transformer", "Pooling", "Normalize", "Dense"),
        ("Transformer", "Normalize", "Pooling"),
    ],
)
def test_another_order_of_modules_is_refused_with_that_order(
    tmp_path: Path, kinds: tuple[str, ...]
) -> None:
    with pytest.raises(UnsupportedModel, match=f"asks for {' → '.join(kinds)}; what is computed"):
        read_layout(write_modules(tmp_path, *kinds), pooling="mean")


@pytest.mark.parametrize(
    "kind",
    [
        "sentence_transformers.models.WordEmbeddings",
        "sentence_transformers.models.LayerNorm",
        "sentence_transformers.models.transformer",
        "sentence_transformers.sparse_encoder.modules.SparseStaticEmbedding",
        "sentence_transformers",
        "pylate.models.Dense",
        "evil.sentence_transformers.models.Pooling",
        "os.system",
        "",
    ],
)
def test_a_module_of_another_type_is_refused_by_its_name(tmp_path: Path, kind: str) -> None:
    with pytest.raises(UnsupportedModel, match=f"asks for {kind!r}; supported: Transformer"):
        read_layout(write_modules(tmp_path, "Transformer", "Pooling", kind), pooling="mean")


def test_a_type_without_the_package_s_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="asks for 'Transformer'; supported"):
        read_layout(write_modules(tmp_path, "Transformer", "Pooling", types={}), pooling=None)


@pytest.mark.parametrize("kind", [None, 5, [], {"a": 1}])
def test_a_module_whose_type_is_no_name_is_refused(tmp_path: Path, kind: object) -> None:
    write_json(tmp_path / MODULES, [{"path": "", "type": kind}])

    with pytest.raises(UnsupportedModel, match=MODULES):
        read_layout(tmp_path, pooling="mean")


@pytest.mark.parametrize(
    "folder",
    [
        "../outside",
        "1_Pooling/../../outside",
        "..",
        "/etc",
        "..\\outside",
        "C:\\outside",
        "C:outside",
        "\\\\server\\share",
        "a\0b",
        "\ud800",
        None,
        5,
        ["1_Pooling"],
    ],
)
def test_a_module_folder_outside_the_model_is_refused(tmp_path: Path, folder: object) -> None:
    entries = [{"path": "", "type": OLD["Transformer"]}, {"path": folder, "type": OLD["Pooling"]}]
    write_json(tmp_path / "model" / MODULES, entries)
    write_json(tmp_path / "outside" / "config.json", {})

    with pytest.raises(UnsupportedModel, match="outside of the model's"):
        read_layout(tmp_path / "model", pooling=None)


@pytest.mark.parametrize("content", [{}, None, 5, "x", [5], [[]], [None], ["Transformer"]])
def test_a_modules_file_that_is_no_list_is_refused(tmp_path: Path, content: object) -> None:
    write_json(tmp_path / MODULES, content)

    with pytest.raises(UnsupportedModel, match="is not a list of modules"):
        read_layout(tmp_path, pooling="mean")


@pytest.mark.parametrize(
    ("stated", "name"),
    [
        ("torch.nn.modules.linear.Identity", "identity"),
        ("torch.nn.modules.activation.Tanh", "tanh"),
        ("torch.nn.modules.activation.ReLU", "relu"),
        ("torch.nn.modules.activation.GELU", "gelu"),
        ("torch.nn.modules.activation.SiLU", "silu"),
        ("torch.nn.modules.activation.Sigmoid", "sigmoid"),
    ],
)
def test_an_activation_is_known_by_the_class_that_is_stated(
    tmp_path: Path, stated: str, name: str
) -> None:
    layout = _dense(tmp_path, activation_function=stated)

    assert layout.dense == (Dense(tmp_path / "2_Dense", name),)
    assert ACTIVATIONS[stated] == name


def test_the_activations_are_classes_of_torch_by_their_own_names() -> None:
    import torch

    for stated in ACTIVATIONS:
        found = getattr(torch.nn, stated.rpartition(".")[2])
        assert f"{found.__module__}.{found.__qualname__}" == stated


@pytest.mark.parametrize(
    "stated",
    [
        "torch.nn.modules.activation.Softmax",
        "torch.hub.load",
        "os.system",
        "Tanh",
        "torch.nn.modules.activation.Tanh ",
        "",
        None,
        5,
        [TANH],
    ],
)
def test_another_activation_is_refused_by_its_name(tmp_path: Path, stated: object) -> None:
    with pytest.raises(UnsupportedModel, match=r"has the activation .*allowed: torch"):
        _dense(tmp_path, activation_function=stated)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("module_input_name", "token_embeddings"),
        ("module_output_name", "token_embeddings"),
        ("use_residual", True),
    ],
)
def test_a_dense_module_with_unsupported_options_is_refused(
    tmp_path: Path, key: str, value: object
) -> None:
    with pytest.raises(UnsupportedModel, match=f"2_Dense.*'{key}' = {value!r}"):
        _dense(tmp_path, activation_function=TANH, **{key: value})


def test_a_dense_module_may_state_default_options(tmp_path: Path) -> None:
    config = {
        "in_features": 8,
        "out_features": 4,
        "bias": False,
        "activation_function": TANH,
        "module_input_name": "sentence_embedding",
        "module_output_name": None,
        "use_residual": False,
    }

    assert len(_dense(tmp_path, **config).dense) == 1


def test_normalising_anything_but_the_answer_is_refused(tmp_path: Path) -> None:
    write_modules(tmp_path, "Transformer", "Pooling", "Normalize")
    path = write_json(tmp_path / "2_Normalize" / "config.json", {})
    assert read_layout(tmp_path, pooling=None).normalizes

    write_json(path, {"module_input_name": "token_embeddings"})

    with pytest.raises(UnsupportedModel, match=r"2_Normalize.*'module_input_name'"):
        read_layout(tmp_path, pooling=None)


@pytest.mark.parametrize("kind", ["Pooling", "Dense"])
@pytest.mark.parametrize("content", [[], 5, None, "x"])
def test_a_module_s_config_that_is_no_object_is_refused_by_its_path(
    tmp_path: Path, kind: str, content: object
) -> None:
    write_modules(tmp_path, "Transformer", "Pooling", "Dense")
    folder = {"Pooling": "1_Pooling", "Dense": "2_Dense"}[kind]
    write_json(tmp_path / folder / "config.json", content)

    with pytest.raises(UnsupportedModel, match=f"{folder}/config.json must hold a JSON object"):
        read_layout(tmp_path, pooling=None)
