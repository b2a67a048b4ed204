"""Read the tokenizer of a model from its files.

``tokenizer.json`` is used directly if no companion file overrides it. In all other cases
transformers builds the tokenizer.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as RustTokenizer

from embedder.core.errors import UnsupportedModel
from embedder.core.types import Truncate
from embedder.models.safety import read_optional
from embedder.models.tokenizer.tokenizer_json import (
    ADDED_TOKENS,
    CONFIG,
    SPECIAL_TOKENS,
    content_of,
    declared_tokens,
    is_bert,
    is_self_contained,
)
from embedder.models.tokenizer.transformers_tokenizer import build_fast_tokenizer

TOKENIZER = "tokenizer.json"
_COMPANIONS = (CONFIG, SPECIAL_TOKENS, ADDED_TOKENS)
"""Optional files that may override ``tokenizer.json``."""

_SIDES = {"right": Truncate.END, "left": Truncate.START}


@dataclass(frozen=True, slots=True)
class TokenizerFiles:
    """A tokenizer as its files describe it.

    ``state`` is the JSON of the Rust tokenizer. ``gives_types`` is True if the model reads token
    types beside the ids. ``truncation`` is the end at which a long text is cut. ``mask``
    is the mask token, if the files name one.
    """

    state: str
    gives_types: bool
    truncation: Truncate
    mask: str | None = None

    @classmethod
    def read(cls, folder: Path, config: Mapping[str, Any], *, rows: int) -> TokenizerFiles:
        """Read the tokenizer of a transformer.

        ``config`` is its ``config.json``; its embedding matrix has ``rows`` rows.

        Raises:
            UnsupportedModel: there is no fast tokenizer, its truncation side is unknown, or one of
                its tokens has no row.
        """
        path = folder / TOKENIZER
        text = _read_text(path)
        raw = _parse(text, path)
        companions = {name: read_optional(folder / name) for name in _COMPANIONS}
        tokenizer_config = companions[CONFIG]
        if is_self_contained(raw, companions, config, rows):
            default = ("token_type_ids",) if is_bert(tokenizer_config, config) else ()
            names = tokenizer_config.get("model_input_names", default)
            found, side = raw, _truncation_side(raw, tokenizer_config)
        else:
            built = build_fast_tokenizer(folder)
            names, side = built.input_names, built.truncation_side
            found = _without_class_defaults(_parse(built.state, path), raw, companions, rows)
            text = json.dumps(found, ensure_ascii=False)
        if side not in _SIDES:
            raise UnsupportedModel(
                f"{folder / CONFIG} has 'truncation_side' = {side!r}; allowed: {', '.join(_SIDES)}"
            )
        _check_rows(folder, found, rows)
        named = [companions[name].get("mask_token") for name in (SPECIAL_TOKENS, CONFIG)]
        mask = next((content_of(token) for token in named if token), None)
        return cls(text, "token_type_ids" in names, _SIDES[side], mask and str(mask))

    def ids_of(self, tokens: Sequence[str]) -> list[int]:
        """Return the ids of those of the tokens that the vocabulary has."""
        rust = RustTokenizer.from_str(self.state)
        return [number for each in tokens if (number := rust.token_to_id(each)) is not None]


def tokenizer_paths(folder: Path) -> list[Path]:
    """Return the paths of the existing files that describe a tokenizer.

    Raises:
        UnsupportedModel: there is no ``tokenizer.json``.
    """
    if not (folder / TOKENIZER).is_file():
        raise missing_tokenizer(folder / TOKENIZER)
    return [folder / name for name in (TOKENIZER, *_COMPANIONS) if os.path.lexists(folder / name)]


def missing_tokenizer(path: Path) -> UnsupportedModel:
    """Return the error for a missing ``tokenizer.json``, with a command that writes it."""
    folder = str(path.parent)
    return UnsupportedModel(
        f"{path} does not exist; only fast tokenizers run. To write it from the other files of the "
        f'tokenizer: python -c "from transformers import AutoTokenizer as A; '
        f'A.from_pretrained({folder!r}).save_pretrained({folder!r})"'
    )


def _truncation_side(raw: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    truncation = raw.get("truncation") or {}
    return str(config.get("truncation_side") or truncation.get("direction", "right")).lower()


def _without_class_defaults(
    built: Mapping[str, Any],
    raw: Mapping[str, Any],
    companions: Mapping[str, Mapping[str, Any]],
    rows: int,
) -> Mapping[str, Any]:
    """Remove tokens that only a transformers class declares and that have no row."""
    declared = {token["content"] for token in raw.get("added_tokens") or ()}
    declared |= {str(content_of(token)) for token in declared_tokens(companions)}
    kept = [
        token
        for token in built.get("added_tokens") or ()
        if token["id"] < rows or token["content"] in declared
    ]
    return {**built, "added_tokens": kept}


def _check_rows(folder: Path, state: Mapping[str, Any], rows: int) -> None:
    """Refuse a tokenizer with ids for which the embedding matrix has no row."""
    vocabulary = state["model"].get("vocab", {})
    ids = {token["content"]: token["id"] for token in state.get("added_tokens") or ()}
    if isinstance(vocabulary, dict):
        ids |= vocabulary
    else:
        ids |= {entry[0]: at for at, entry in enumerate(vocabulary[rows:], rows)}
    beyond = [(name, number) for name, number in ids.items() if number >= rows]
    if beyond:
        named = ", ".join(f"{name!r} has the id {number}" for name, number in beyond[:3])
        raise UnsupportedModel(
            f"{folder / TOKENIZER} has {len(beyond)} tokens beyond the embedding matrix, which has "
            f"{rows} rows: {named}"
        )


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise missing_tokenizer(path)
    try:
        return path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise UnsupportedModel(f"{path} is not a tokenizer: {error}") from error


def _parse(text: str, path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(text)
        if not isinstance(content.get("model"), dict):
            raise TypeError("it has no 'model'")
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UnsupportedModel(f"{path} is not a tokenizer: {error}") from error
    return dict(content)
