"""Read the token limit of a model and the options for preparing its texts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embedder.core.errors import UnsupportedModel
from embedder.models.layout import Layout
from embedder.models.safety import read_optional, require_supported

DEFAULT_LIMIT = 512
"""The limit of a model that states none; the T5 models were trained with it."""

UNLIMITED = 10**9
"""A limit of at least this is none: transformers writes 10^30 for a tokenizer without one."""

_CONFIGS = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
_POSITIONS_AFTER_PADDING = {
    "camembert",
    "data2vec-text",
    "ibert",
    "longformer",
    "luke",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
}
"""Architectures that count positions from the padding id on, which leaves rows unused."""

_OF_TASKS = ("query_expansion", "query_length", "document_length")
"""Options by which queries differ from documents."""

_PREPARATION = {
    "transformer_task": "feature-extraction",
    "module_output_name": "token_embeddings",
    "modality_config": "text",
    "method": "forward",
    "method_output_name": "last_hidden_state",
    "processing_kwargs": None,
    **dict.fromkeys(_OF_TASKS),
}
"""Options of sentence-transformers 6, with the only supported value of each."""

_SCORES = {
    **_PREPARATION,
    "transformer_task": "sequence-classification",
    "module_output_name": "scores",
    "method_output_name": "logits",
}
"""The same for a cross-encoder."""

_SPLADE = {
    **_PREPARATION,
    "transformer_task": "fill-mask",
    "method_output_name": "logits",
}
"""The same for the logits of a masked language model."""

_ARGUMENTS = (
    *("tokenizer_args", "model_args", "config_args"),
    *("processor_kwargs", "model_kwargs", "config_kwargs"),
)
_HARMLESS_ARGUMENTS = {
    "attn_implementation",
    "dtype",
    "padding_side",
    "torch_dtype",
    "trust_remote_code",
    "use_fast",
}
"""Arguments of transformers that change vectors by no more than rounding."""

_N_POSITIONS = {"codegen", "ctrl", "gpt2", "gpt_bigcode", "gptj", "openai-gpt"}
"""Architectures that store the number of positions as ``n_positions``; for T5 it is no limit."""


def token_limit(
    folder: Path, config: Mapping[str, Any], wanted: int | None, layout: Layout | None = None
) -> int:
    """Return the maximum number of tokens of an input; ``layout`` says what is computed of it.

    This is ``wanted``, the limit of the settings, or else the smaller one of the number of
    positions and the limit in the model's files.

    Raises:
        UnsupportedModel: ``wanted`` exceeds the positions, there is no usable position, a stated
            limit is no number of tokens, or the files prepare texts in an unsupported way.
    """
    path, sentence_config = _sentence_config(folder)
    _check_preparation(path, sentence_config, _supported(layout))
    positions = _positions(config)
    if wanted is not None:
        if positions is not None and wanted > positions:
            raise UnsupportedModel(
                f"model.max_tokens is {wanted}; the model has {positions} positions"
            )
        return wanted
    stated_limit = _stated_limit(path, sentence_config, "max_seq_length")
    if stated_limit is None:
        path = folder / "tokenizer_config.json"
        values = read_optional(path)
        key = "model_max_length" if "model_max_length" in values else "max_len"  # the old name
        stated_limit = _stated_limit(path, values, key)
    if (stated := _task_limit(layout)) is not None:
        stated_limit = stated
    limits = [
        limit for limit in (positions, stated_limit) if limit is not None and limit < UNLIMITED
    ]
    return min(limits, default=DEFAULT_LIMIT)


def _supported(layout: Layout | None) -> Mapping[str, Any]:
    """Return the supported value of each option of sentence-transformers."""
    if layout is None or layout.pooling:
        return _SCORES if layout is not None and layout.classifier is not None else _PREPARATION
    if layout.sparse is not None:
        return _SPLADE
    # `embedder.models.heads.multi_vector` reads the options of queries and documents.
    return {key: value for key, value in _PREPARATION.items() if key not in _OF_TASKS}


def _task_limit(layout: Layout | None) -> int | None:
    """Return the limit of documents if a multi-vector model has one, or a longer one of queries."""
    tokens = layout.multi_vector if layout is not None else None
    if tokens is None or tokens.document_limit is None:
        return None
    expansion = tokens.expansion.length if tokens.expansion else 0
    return max(tokens.document_limit, tokens.query_limit or 0, expansion)


def lower_case(folder: Path) -> bool:
    """Return whether texts are put into lower case in addition to the tokenizer's own steps."""
    return bool(_sentence_config(folder)[1].get("do_lower_case"))


def _positions(config: Mapping[str, Any]) -> int | None:
    kind = str(config.get("model_type"))
    key = "n_positions" if kind in _N_POSITIONS else "max_position_embeddings"
    positions = config.get(key)
    if type(positions) is not int or not 0 < positions < UNLIMITED:
        return None
    if kind not in _POSITIONS_AFTER_PADDING:
        return positions
    padding = None if kind == "mpnet" else config.get("pad_token_id")  # which counts from 1
    usable = positions - 1 - (padding if isinstance(padding, int) else 1)
    if not 0 < usable < positions:
        raise UnsupportedModel(
            f"config.json has {key!r} = {positions} and 'pad_token_id' = {padding!r}, which "
            "leaves no positions"
        )
    return usable


def _check_preparation(path: Path, config: Mapping[str, Any], supported: Mapping[str, Any]) -> None:
    """Refuse options of sentence-transformers 6 that change how texts are prepared or computed.

    They may ask for other outputs than hidden states, or pass arguments to transformers.
    """
    inputs, kwargs = _inner(config, "modality_config"), _inner(config, "processing_kwargs")
    nested = {
        "modality_config": "text" if "text" in inputs else tuple(inputs),
        "processing_kwargs": kwargs.get("text") or kwargs.get("common"),
    }
    require_supported(path, {**config, **_inner(inputs, "text"), **nested}, supported)
    for key in _ARGUMENTS:
        for name, value in _inner(config, key).items():
            if name not in _HARMLESS_ARGUMENTS:
                raise UnsupportedModel(f"{path} asks for {key!r} with {name!r} = {value!r}")


def _inner(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    inner = values.get(key)
    return inner if isinstance(inner, dict) else {}


def _sentence_config(folder: Path) -> tuple[Path, Mapping[str, Any]]:
    """Return the path and the content of the first configuration that is not empty."""
    read = ((folder / name, read_optional(folder / name)) for name in _CONFIGS)
    return next(((path, content) for path, content in read if content), (folder / _CONFIGS[0], {}))


def _stated_limit(path: Path, values: Mapping[str, Any], key: str) -> int | None:
    """Return the limit that a file states, at most `UNLIMITED`, or None if it states none.

    Raises:
        UnsupportedModel: the value is no number of tokens.
    """
    value = values.get(key)
    if value is None:
        return None
    whole = isinstance(value, int) and not isinstance(value, bool) and value > 0
    if whole or (isinstance(value, float) and value >= UNLIMITED):
        return int(min(value, UNLIMITED))
    raise UnsupportedModel(
        f"{path} has {key!r} = {value!r}; it must be a whole number of tokens above 0. Correct it, "
        "or set model.max_tokens"
    )
