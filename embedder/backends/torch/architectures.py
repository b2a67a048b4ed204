"""What the packed forward pass knows of each architecture: its numbers, and its tensors' names.

The family of BERT shares one forward pass; its members differ in what stands here. Reads a
``config.json``; knows nothing of tensors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from embedder.core.errors import UnsupportedModel
from embedder.models.config_values import required_int

_GELU = {"gelu": "none", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}
"""How torch is told to approximate each activation that is computed here."""


@dataclass(frozen=True, slots=True)
class TensorNames:
    """Where a checkpoint has its tensors; those of a layer stand under ``layer`` and its number.

    ``segments`` are the vectors of first and second texts, ``distances`` the attention's biases by
    distance, for architectures that have them.
    """

    layer: str
    query: str
    key: str
    value: str
    mixed: str
    mixed_norm: str
    up: str
    down: str
    norm: str
    segments: str | None = None
    distances: str | None = None


@dataclass(frozen=True, slots=True)
class _Family:
    """A member of the family: its tensors, what its numbers are called, where positions begin.

    ``padding_id`` is that of a file that names none, or of all files where it is ``fixed``.
    Positions count from the padding id on and leave padding ids in a text out, or, where it is
    None, they count every token from 0. ``norm_epsilon`` of None is that of the file.
    """

    names: TensorNames
    layers: str = "num_hidden_layers"
    heads: str = "num_attention_heads"
    width: str = "hidden_size"
    inner: str = "intermediate_size"
    activation: str = "hidden_act"
    padding_id: int | None = None
    fixed: bool = False
    norm_epsilon: float | None = None


_BERT = TensorNames(
    layer="encoder.layer",
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    mixed="attention.output.dense",
    mixed_norm="attention.output.LayerNorm",
    up="intermediate.dense",
    down="output.dense",
    norm="output.LayerNorm",
    segments="embeddings.token_type_embeddings.weight",
)
_DISTILBERT = TensorNames(
    layer="transformer.layer",
    query="attention.q_lin",
    key="attention.k_lin",
    value="attention.v_lin",
    mixed="attention.out_lin",
    mixed_norm="sa_layer_norm",
    up="ffn.lin1",
    down="ffn.lin2",
    norm="output_layer_norm",
)
_MPNET = TensorNames(
    layer="encoder.layer",
    query="attention.attn.q",
    key="attention.attn.k",
    value="attention.attn.v",
    mixed="attention.attn.o",
    mixed_norm="attention.LayerNorm",
    up="intermediate.dense",
    down="output.dense",
    norm="output.LayerNorm",
    distances="encoder.relative_attention_bias.weight",
)
_FAMILIES = {
    "bert": _Family(_BERT),
    "roberta": _Family(_BERT, padding_id=1),
    "xlm-roberta": _Family(_BERT, padding_id=1),
    "camembert": _Family(_BERT, padding_id=1),
    "mpnet": _Family(_MPNET, padding_id=1, fixed=True),
    "distilbert": _Family(
        _DISTILBERT,
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
    """The numbers that the packed forward pass depends on.

    ``gelu`` is torch's word for the activation. ``padding_id`` is the id from which positions
    count on; at -1 they count every token from 0.
    """

    names: TensorNames
    layers: int
    heads: int
    width: int
    norm_epsilon: float
    gelu: str
    padding_id: int

    @property
    def head_width(self) -> int:
        """Return the components of one attention head."""
        return self.width // self.heads

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> EncoderShape:
        """Read a ``config.json`` about which `packed_unsupported_reason` has nothing to say.

        Raises:
            UnsupportedModel: a number is missing, or the heads do not divide the width.
        """
        family = _FAMILIES[config["model_type"]]
        width, heads = required_int(config, family.width), required_int(config, family.heads)
        if heads < 1 or width % heads:
            raise UnsupportedModel(
                f"config.json has {family.width!r} = {width}, which {family.heads!r} = {heads} "
                "does not divide"
            )
        return cls(
            names=family.names,
            layers=required_int(config, family.layers),
            heads=heads,
            width=width,
            norm_epsilon=family.norm_epsilon or config.get("layer_norm_eps", 1e-12),
            gelu=_GELU[config.get(family.activation, "gelu")],
            padding_id=_padding_id(family, config),
        )


def expected_rows(config: Mapping[str, Any]) -> Iterator[tuple[str, str, int]]:
    """Give tensors whose number of rows a ``config.json`` states: name, key and number of each.

    ``config`` is one about which `packed_unsupported_reason` has nothing to say.
    """
    family = _FAMILIES[config["model_type"]]
    names = family.names
    keys = {
        "embeddings.word_embeddings.weight": "vocab_size",
        "embeddings.position_embeddings.weight": "max_position_embeddings",
    }
    if names.segments is not None:
        keys[names.segments] = "type_vocab_size"
    for tensor, key in keys.items():
        if key in config:
            yield tensor, key, required_int(config, key)
    # One after the other: the caller ends at the first layer that the weights lack, and the number
    # of layers may be anything.
    for layer in range(required_int(config, family.layers)):
        for part, key in ((names.query, family.width), (names.up, family.inner)):
            if key in config:
                yield f"{names.layer}.{layer}.{part}.weight", key, required_int(config, key)


def packed_unsupported_reason(config: Mapping[str, Any]) -> str | None:
    """Say for the operator why there is no packed forward pass; None where there is one."""
    kind = config.get("model_type")
    family = _FAMILIES.get(str(kind))
    if family is None:
        return f"no padding-free forward pass for {kind!r}"
    if config.get("is_decoder"):
        return f"no padding-free forward pass for {kind!r} as a decoder"
    activation = config.get(family.activation, "gelu")
    if not isinstance(activation, str) or activation not in _GELU:
        return f"no padding-free forward pass for {kind!r} with activation {activation!r}"
    positions = config.get("position_embedding_type") or "absolute"
    if positions != "absolute":
        return f"no padding-free forward pass for {kind!r} with {positions!r} positions"
    return None


def _padding_id(family: _Family, config: Mapping[str, Any]) -> int:
    if family.padding_id is None:
        return -1
    stated = None if family.fixed else config.get("pad_token_id")
    return family.padding_id if stated is None else int(stated)
