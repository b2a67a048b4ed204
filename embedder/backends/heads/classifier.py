"""The layers of a cross-encoder after its last hidden states: from the first token to scores.

They are two linear maps in every architecture; transformers names them differently. The activation
that the files apply to the scores is no part of them, so that a caller can have raw scores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from embedder.backends.checkpoint import Checkpoint, Linear, tensor_bytes
from embedder.backends.heads.pooling import cls
from embedder.core.errors import UnsupportedModel
from embedder.core.outputs import OutputKind

if TYPE_CHECKING:
    # The GPU benchmark runs where pydantic is not installed.
    from embedder.models.files import ModelFiles


@dataclass(frozen=True, slots=True)
class _Names:
    """The names of the two maps; ``within`` says that the first one is a part of the encoder."""

    first: str
    last: str
    activation: Callable[[torch.Tensor], torch.Tensor] = torch.tanh
    within: bool = False


_ROBERTA = _Names("classifier.dense", "classifier.out_proj")
_NAMES = {
    "BertForSequenceClassification": _Names("pooler.dense", "classifier", within=True),
    "CamembertForSequenceClassification": _ROBERTA,
    "DistilBertForSequenceClassification": _Names("pre_classifier", "classifier", torch.relu),
    "MPNetForSequenceClassification": _ROBERTA,
    "RobertaForSequenceClassification": _ROBERTA,
    "XLMRobertaForSequenceClassification": _ROBERTA,
}


def has_classifier(name: str) -> bool:
    """Return whether the scores of a class of transformers are computed here."""
    return name in _NAMES


class ComputedScores:
    """Takes ``width`` scores that the forward pass has computed already."""

    kind = OutputKind.SCORES
    memory_bytes = 0

    def __init__(self, width: int) -> None:
        self.width = width

    def __call__(self, scores: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return the scores, float32[n, width]."""
        return scores


class ClassifierHead:
    """Maps hidden states to ``width`` scores; its weights take ``memory_bytes``."""

    kind = OutputKind.SCORES

    def __init__(
        self, first: Linear, last: Linear, activation: Callable[[torch.Tensor], torch.Tensor]
    ) -> None:
        self.width = len(last.weight)
        self.memory_bytes = tensor_bytes(first, last)
        self._first, self._last = first, last
        self._activation = activation

    @classmethod
    def load(cls, files: ModelFiles, *, device: torch.device) -> ClassifierHead:
        """Load the classifier of a model in float32.

        Raises:
            UnsupportedModel: its class is not computed here, or a tensor is missing or has another
                size.
        """
        classifier = files.layout.classifier
        names = _NAMES.get(classifier.name) if classifier else None
        if classifier is None or names is None:
            name = classifier.name if classifier else None
            raise UnsupportedModel(
                f"no scores are computed with {name!r}; supported: {', '.join(_NAMES)}"
            )
        encoder = Checkpoint.open(files.weights, dtype=torch.float32, device=device)
        whole = replace(encoder, prefix="")
        first = (encoder if names.within else whole).linear(names.first)
        last = whole.linear(names.last)
        if len(last.weight) != len(classifier.labels):
            raise UnsupportedModel(
                f"config.json has {len(classifier.labels)} labels; the weights of {names.last!r} "
                f"give {len(last.weight)} scores"
            )
        return cls(first, last, names.activation)

    def __call__(self, hidden: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return float32[n, width] of hidden states float[total, hidden_width].

        ``lengths`` is int64[n]; both are on the head's device.
        """
        return self._last(self._activation(self._first(cls(hidden, lengths))))
