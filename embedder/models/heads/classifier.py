"""Read what the files of a cross-encoder say about its scores: the labels and the activation.

These are models of transformers for sequence classification, alone or as sentence-transformers
stores a CrossEncoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedder.core.errors import UnsupportedModel
from embedder.core.outputs import ActivationName
from embedder.models.safety import read_object, read_optional, required_int

_SUFFIX = "ForSequenceClassification"
"""The end of the class names of these models."""

SCORE_ACTIVATIONS: dict[str, ActivationName] = {
    "torch.nn.modules.linear.Identity": "identity",
    "torch.nn.modules.activation.Sigmoid": "sigmoid",
    "torch.nn.modules.activation.Tanh": "tanh",
    "torch.nn.modules.activation.ReLU": "relu",
}
"""The activations of scores, by the class that a file states."""

_DEFAULT_LABELS = 2
"""The labels of a configuration that names none, as transformers counts them."""


@dataclass(frozen=True, slots=True)
class Classifier:
    """The classifier of a model: its class in transformers, its labels and their activation."""

    name: str
    labels: tuple[str, ...]
    activation: ActivationName


def read_classifier(directory: Path, transformer: Path) -> Classifier | None:
    """Return the classifier of a model; None if it is no model for sequence classification.

    ``directory`` has the files of sentence-transformers, ``transformer`` the ``config.json``.

    Raises:
        UnsupportedModel: its labels have no order, or the activation is unknown.
    """
    path = transformer / "config.json"
    config = read_object(path)
    name = first_architecture(config)
    if not name.endswith(_SUFFIX):
        return None
    labels = _labels(path, config)
    return Classifier(name, labels, _activation(directory, path, config, len(labels)))


def first_architecture(config: Mapping[str, Any]) -> str:
    """Return the class in transformers that a configuration names first; "" if it names none."""
    named = config.get("architectures")
    first = named[0] if isinstance(named, list) and named else None
    return first if isinstance(first, str) else ""


def _labels(path: Path, config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the name of each label in the order of the scores."""
    named = config.get("id2label")
    if named is None:
        count = required_int(config, "num_labels") if "num_labels" in config else _DEFAULT_LABELS
        named = {str(number): f"LABEL_{number}" for number in range(count)}
    keys = [str(number) for number in range(len(named))] if isinstance(named, dict) else []
    if not keys or sorted(keys) != sorted(named):
        raise UnsupportedModel(f"{path} has 'id2label' = {named!r}; its keys must be 0, 1, 2, …")
    return tuple(str(named[key]) for key in keys)


def _activation(
    directory: Path, path: Path, config: Mapping[str, Any], labels: int
) -> ActivationName:
    """Return the function that the files name; without a name, one label gets a sigmoid."""
    sentence = directory / "config_sentence_transformers.json"
    inner = config.get("sentence_transformers")
    written = (
        (sentence, read_optional(sentence).get("activation_fn")),
        (path, inner.get("activation_fn") if isinstance(inner, dict) else None),
        (path, config.get("sbert_ce_default_activation_function")),
    )
    for place, name in written:
        if name is None:
            continue
        if not isinstance(name, str) or name not in SCORE_ACTIVATIONS:
            raise UnsupportedModel(
                f"{place} has the activation {name!r}; allowed: {', '.join(SCORE_ACTIVATIONS)}"
            )
        return SCORE_ACTIVATIONS[name]
    return "sigmoid" if labels == 1 else "identity"
