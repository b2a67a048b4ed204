"""How many tokens an input of a model may have, and how its texts are prepared: its files' word.

Knows nothing of tokenizing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embedder.core.errors import UnsupportedModel
from embedder.models.safety import read_object

WITHOUT_WORD = 512
"""The limit of a model that states none, and has relative positions; as its authors trained T5."""

UNLIMITED = 10**9
"""A limit from here on is none: transformers writes 10^30 for a tokenizer without one."""

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
"""These count positions from the padding id on, so that many rows are never used."""

_HARMLESS_ARGUMENTS = {
    "attn_implementation",
    "dtype",
    "padding_side",
    "torch_dtype",
    "trust_remote_code",
    "use_fast",
}
"""Arguments of transformers' loaders that change no vector beyond rounding."""

_N_POSITIONS = {"codegen", "ctrl", "gpt2", "gpt_bigcode", "gptj", "openai-gpt"}
"""These call their positions ``n_positions``, which elsewhere is no limit (T5)."""


def token_limit(folder: Path, config: Mapping[str, Any], wanted: int | None) -> int:
    """Take the least of what the settings, the model's authors and its positions allow.

    Raises:
        UnsupportedModel: the settings want more than the model has positions, it has none that
            can be used, its files state a limit that is no number of tokens, or they prepare texts
            in a way that is not known here.
    """
    path, said = _sentence_config(folder)
    _check_preparation(folder, said)
    _check_arguments(folder, said)
    positions = _positions(config)
    if wanted is not None:
        if positions is not None and wanted > positions:
            raise UnsupportedModel(
                f"model.max_tokens is {wanted}; the model has {positions} positions"
            )
        return wanted
    authors = _stated_limit(path, said, "max_seq_length")
    if authors is None:
        path = folder / "tokenizer_config.json"
        stated = _read(path)
        key = "model_max_length" if "model_max_length" in stated else "max_len"  # the old name
        authors = _stated_limit(path, stated, key)
    limits = [limit for limit in (positions, authors) if limit is not None and limit < UNLIMITED]
    return min(limits, default=WITHOUT_WORD)


def lower_case(folder: Path) -> bool:
    """Tell whether texts are put into lower case, whatever the tokenizer's own file says."""
    return bool(_sentence_config(folder)[1].get("do_lower_case"))


def _positions(config: Mapping[str, Any]) -> int | None:
    kind = str(config.get("model_type"))
    key = "n_positions" if kind in _N_POSITIONS else "max_position_embeddings"
    positions = _number(config, key)
    if positions is None or kind not in _POSITIONS_AFTER_PADDING:
        return positions
    padding = None if kind == "mpnet" else config.get("pad_token_id")  # which counts from 1
    usable = positions - 1 - (padding if isinstance(padding, int) else 1)
    if not 0 < usable < positions:
        raise UnsupportedModel(
            f"config.json has {key!r} = {positions} and 'pad_token_id' = {padding!r}, which "
            "leaves no positions"
        )
    return usable


def _check_preparation(folder: Path, said: Mapping[str, Any]) -> None:
    """Refuse what release 6 of sentence-transformers may ask of a transformer beside its states."""
    inputs = _inner(said, "modality_config")
    texts, kwargs = _inner(inputs, "text"), _inner(said, "processing_kwargs")
    for key, value, usual in (
        ("modality_config", () if "text" in inputs else tuple(inputs), "text"),
        ("transformer_task", said.get("transformer_task"), "feature-extraction"),
        ("module_output_name", said.get("module_output_name"), "token_embeddings"),
        ("method", texts.get("method"), "forward"),
        ("method_output_name", texts.get("method_output_name"), "last_hidden_state"),
        ("query_expansion", said.get("query_expansion"), None),
        ("query_length", said.get("query_length"), None),
        ("document_length", said.get("document_length"), None),
        ("processing_kwargs", kwargs.get("text"), None),
        ("processing_kwargs", kwargs.get("common"), None),
    ):
        if value and value != usual:
            raise UnsupportedModel(f"{folder} asks for {key!r} = {value!r}; computed is {usual!r}")


def _check_arguments(folder: Path, said: Mapping[str, Any]) -> None:
    """Refuse arguments that sentence-transformers passes on to transformers, but harmless ones."""
    for old, new in (("tokenizer", "processor"), ("model", "model"), ("config", "config")):
        for key in (f"{old}_args", f"{new}_kwargs"):
            for name, value in _inner(said, key).items():
                if name not in _HARMLESS_ARGUMENTS:
                    raise UnsupportedModel(f"{folder} asks for {key!r} with {name!r} = {value!r}")


def _inner(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    inner = values.get(key)
    return inner if isinstance(inner, dict) else {}


def _sentence_config(folder: Path) -> tuple[Path, Mapping[str, Any]]:
    """Return the first file of its names that is not empty, and its content."""
    read = ((folder / name, _read(folder / name)) for name in _CONFIGS)
    return next(((path, content) for path, content in read if content), (folder / _CONFIGS[0], {}))


def _read(path: Path) -> Mapping[str, Any]:
    return read_object(path) if os.path.lexists(path) else {}


def _stated_limit(path: Path, values: Mapping[str, Any], key: str) -> int | None:
    """Return the limit that a file states, at most `UNLIMITED`; None: it states none.

    Raises:
        UnsupportedModel: it is no number of tokens.
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


def _number(values: Mapping[str, Any], key: str) -> int | None:
    value = values.get(key)
    return value if type(value) is int and 0 < value < UNLIMITED else None
