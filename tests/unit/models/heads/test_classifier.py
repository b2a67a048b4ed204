"""What the files of a cross-encoder say about labels and activation."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedder.core.errors import UnsupportedModel
from embedder.core.outputs import OutputKind
from embedder.models.heads.classifier import read_classifier
from embedder.models.layout import read_layout
from embedder.models.sentence_config import read_sentence_config
from tests.tiny_models import write_json, write_modules

TORCH = "torch.nn.modules"
NAME = "BertForSequenceClassification"


def _written(folder: Path, **config: object) -> Path:
    write_json(folder / "config.json", {"architectures": [NAME], **config})
    return folder


@pytest.mark.parametrize(
    ("config", "labels"),
    [
        ({}, ("LABEL_0", "LABEL_1")),
        ({"num_labels": 1}, ("LABEL_0",)),
        ({"id2label": {"1": "no", "0": "yes"}}, ("yes", "no")),
        ({"id2label": {str(number): number for number in range(11)}}, tuple(map(str, range(11)))),
    ],
)
def test_labels_are_in_the_order_of_their_numbers(
    tmp_path: Path, config: dict[str, object], labels: tuple[str, ...]
) -> None:
    classifier = read_classifier(*[_written(tmp_path, **config)] * 2)

    assert classifier is not None
    assert classifier.labels == labels


@pytest.mark.parametrize("named", [{}, {"1": "a"}, {"0": "a", "x": "b"}, ["a"], "a"])
def test_labels_without_an_order_are_refused(tmp_path: Path, named: object) -> None:
    with pytest.raises(UnsupportedModel, match="'id2label'"):
        read_classifier(*[_written(tmp_path, id2label=named)] * 2)


@pytest.mark.parametrize(
    ("labels", "config", "sentence", "activation"),
    [
        (1, {}, {}, "sigmoid"),
        (2, {}, {}, "identity"),
        (1, {"sbert_ce_default_activation_function": f"{TORCH}.linear.Identity"}, {}, "identity"),
        (2, {"sentence_transformers": {"activation_fn": f"{TORCH}.activation.Tanh"}}, {}, "tanh"),
        (1, {"sentence_transformers": {"version": "4.0"}}, {}, "sigmoid"),
        (
            1,
            {"sbert_ce_default_activation_function": f"{TORCH}.linear.Identity"},
            {"activation_fn": f"{TORCH}.activation.ReLU"},
            "relu",
        ),
    ],
)
def test_the_activation_is_that_of_the_files(
    tmp_path: Path,
    labels: int,
    config: dict[str, object],
    sentence: dict[str, object],
    activation: str,
) -> None:
    write_json(tmp_path / "config_sentence_transformers.json", sentence)
    classifier = read_classifier(*[_written(tmp_path, num_labels=labels, **config)] * 2)

    assert classifier is not None
    assert classifier.activation == activation


@pytest.mark.parametrize("name", ["os.system", "torch.nn.modules.activation.Softmax", 7, []])
def test_another_activation_is_refused(tmp_path: Path, name: object) -> None:
    with pytest.raises(UnsupportedModel, match="has the activation"):
        read_classifier(*[_written(tmp_path, sbert_ce_default_activation_function=name)] * 2)


@pytest.mark.parametrize("architectures", [None, [], "x", [7], ["BertModel"]])
def test_another_model_is_no_cross_encoder(tmp_path: Path, architectures: object) -> None:
    write_json(tmp_path / "config.json", {"architectures": architectures})

    assert read_classifier(tmp_path, tmp_path) is None


def test_a_pooling_makes_vectors_of_the_same_files(tmp_path: Path) -> None:
    _written(tmp_path)

    assert read_layout(tmp_path, pooling=None).classifier is not None
    assert read_layout(tmp_path, pooling="mean").classifier is None
    assert read_layout(tmp_path, pooling=None, fallback="cls").classifier is None


def test_modules_with_a_pooling_make_vectors(tmp_path: Path) -> None:
    _written(tmp_path)
    write_modules(tmp_path, [("", "Transformer")])
    assert read_layout(tmp_path, pooling=None).classifier is not None

    write_modules(tmp_path, [("", "Transformer"), ("1_Pooling", "Pooling")])
    write_json(tmp_path / "1_Pooling" / "config.json", {})
    assert read_layout(tmp_path, pooling=None).classifier is None


@pytest.mark.parametrize(
    ("config", "scores", "refused"),
    [
        ({"model_type": "CrossEncoder"}, True, False),
        ({"model_type": "CrossEncoder"}, False, True),
        ({"model_type": "SentenceTransformer"}, True, True),
        ({"default_prompt_name": "query"}, True, True),
        ({"default_prompt_name": "query"}, False, False),
    ],
)
def test_the_kind_of_the_model_must_agree(
    tmp_path: Path, config: dict[str, object], scores: bool, refused: bool
) -> None:
    write_json(tmp_path / "config_sentence_transformers.json", config)
    kind = OutputKind.SCORES if scores else OutputKind.DENSE
    if not refused:
        assert read_sentence_config(tmp_path, kind) == config
        return
    with pytest.raises(UnsupportedModel):
        read_sentence_config(tmp_path, kind)
