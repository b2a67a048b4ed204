"""The architectures of the packed forward pass: their numbers and the names of their tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from embedder.core.errors import UnsupportedModel
from embedder.models.safety import required_int

_GELU = {"gelu": "none", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}
"""The value of torch's ``approximate`` for each supported activation."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """The names of an architecture's tensors and of its numbers in ``config.json``, as BERT's.

    The names of a layer's tensors follow ``layer`` and its number. ``segments`` (embeddings of
    token types) and ``relative_bias`` (attention bias by distance) are None for architectures
    without them.

    ``padding_id`` is used if the file states none, or always if it is ``fixed``. Positions start
    after the padding id, and padding ids in a text are not counted; with None positions start at 0
    and all tokens count. ``norm_epsilon=None`` reads the value from the file.
    """

    layer: str = "encoder.layer"
    query: str = "attention.self.query"
    key: str = "attention.self.key"
    value: str = "attention.self.value"
    attention_output: str = "attention.output.dense"
    attention_norm: str = "attention.output.LayerNorm"
    up: str = "intermediate.dense"
    down: str = "output.dense"
    output_norm: str = "output.LayerNorm"
    segments: str | None = "embeddings.token_type_embeddings.weight"
    relative_bias: str | None = None
    layers: str = "num_hidden_layers"
    heads: str = "num_attention_heads"
    width: str = "hidden_size"
    inner: str = "intermediate_size"
    activation: str = "hidden_act"
    padding_id: int | None = None
    fixed: bool = False
    norm_epsilon: float | None = None


_ROBERTA = Architecture(padding_id=1)
_ARCHITECTURES = {
    "bert": Architecture(),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "mpnet": Architecture(
        query="attention.attn.q",
        key="attention.attn.k",
        value="attention.attn.v",
        attention_output="attention.attn.o",
        attention_norm="attention.LayerNorm",
        segments=None,
        relative_bias="encoder.relative_attention_bias.weight",
        padding_id=1,
        fixed=True,
    ),
    "distilbert": Architecture(
        layer="transformer.layer",
        query="attention.q_lin",
        key="attention.k_lin",
        value="attention.v_lin",
        attention_output="attention.out_lin",
        attention_norm="sa_layer_norm",
        up="ffn.lin1",
        down="ffn.lin2",
        output_norm="output_layer_norm",
        segments=None,
        layers="n_layers",
        heads="n_heads",
        width="dim",
        inner="hidden_dim",
        activation="activation",
        norm_epsilon=1e-12,
    ),
}


@dataclass(frozen=True, slots=True)
class EncoderShape:
    """The numbers of an encoder.

    ``gelu`` is torch's ``approximate``. Positions are counted from ``padding_id + 1``; with -1 from
    0 for every token.
    """

    names: Architecture
    layers: int
    heads: int
    width: int
    norm_epsilon: float
    gelu: str
    padding_id: int

    @property
    def head_width(self) -> int:
        """Return the number of components of one attention head."""
        return self.width // self.heads

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> EncoderShape:
        """Read a ``config.json`` for which `packed_unsupported_reason` returns None.

        Raises:
            UnsupportedModel: a number is missing, or the heads do not divide the width.
        """
        architecture = _ARCHITECTURES[config["model_type"]]
        width = required_int(config, architecture.width)
        heads = required_int(config, architecture.heads)
        if heads < 1 or width % heads:
            raise UnsupportedModel(
                f"config.json has {architecture.width!r} = {width}, which is no multiple of "
                f"{architecture.heads!r} = {heads}"
            )
        return cls(
            names=architecture,
            layers=required_int(config, architecture.layers),
            heads=heads,
            width=width,
            norm_epsilon=architecture.norm_epsilon or config.get("layer_norm_eps", 1e-12),
            gelu=_GELU[config.get(architecture.activation, "gelu")],
            padding_id=_padding_id(architecture, config),
        )


def expected_rows(config: Mapping[str, Any]) -> Iterator[tuple[str, str, int]]:
    """Yield the tensors whose number of rows ``config.json`` states: name, key, number.

    `packed_unsupported_reason` returns None for ``config``.
    """
    names = _ARCHITECTURES[config["model_type"]]
    keys = {
        "embeddings.word_embeddings.weight": "vocab_size",
        "embeddings.position_embeddings.weight": "max_position_embeddings",
    }
    if names.segments is not None:
        keys[names.segments] = "type_vocab_size"
    # Lazily: a damaged file may state billions of layers, and the caller stops at the first one
    # that is missing.
    layers = (
        (f"{names.layer}.{layer}.{name}.weight", key)
        for layer in range(required_int(config, names.layers))
        for name, key in ((names.query, names.width), (names.up, names.inner))
    )
    for tensor, key in chain(keys.items(), layers):
        if key in config:
            yield tensor, key, required_int(config, key)


def packed_unsupported_reason(config: Mapping[str, Any]) -> str | None:
    """Return the reason why a model has no packed forward pass, or None if it has one."""
    kind = config.get("model_type")
    reason = f"no padding-free forward pass for {kind!r}"
    architecture = _ARCHITECTURES.get(str(kind))
    if architecture is None:
        return reason
    if config.get("is_decoder"):
        return f"{reason} as a decoder"
    activation = config.get(architecture.activation, "gelu")
    if not isinstance(activation, str) or activation not in _GELU:
        return f"{reason} with activation {activation!r}"
    positions = config.get("position_embedding_type") or "absolute"
    return None if positions == "absolute" else f"{reason} with {positions!r} positions"


def _padding_id(architecture: Architecture, config: Mapping[str, Any]) -> int:
    if architecture.padding_id is None:
        return -1
    stated = None if architecture.fixed else config.get("pad_token_id")
    return architecture.padding_id if stated is None else int(stated)
