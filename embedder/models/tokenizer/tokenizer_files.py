"""How a model's texts become ids: what the files of its tokenizer say together.

``tokenizer.json`` alone decides only where nothing beside it says otherwise, which is read off the
files for the commonest tokenizers; for all others the answer is that of transformers.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedder.core.errors import UnsupportedModel
from embedder.core.types import Truncate
from embedder.models.safety import read_object
from embedder.models.tokenizer.tokenizer_json import (
    ADDED_TOKENS,
    CONFIG,
    SPECIAL_TOKENS,
    content_of,
    declared_tokens,
    is_bert,
    is_plain,
)
from embedder.models.tokenizer.transformers_tokenizer import build_fast_tokenizer

TOKENIZER = "tokenizer.json"
_BESIDE = (CONFIG, SPECIAL_TOKENS, ADDED_TOKENS)
"""Files that change what ``tokenizer.json`` says; each may be missing."""

_SIDES = {"right": Truncate.END, "left": Truncate.START}


@dataclass(frozen=True, slots=True)
class TokenizerFiles:
    """A tokenizer as its files describe it.

    ``state`` is the JSON of the Rust tokenizer. ``gives_types`` says that a model is given the
    token types, and not only the ids. ``truncation`` is the end of a long text that is cut.
    """

    state: str
    gives_types: bool
    truncation: Truncate

    @classmethod
    def read(cls, folder: Path, config: Mapping[str, Any], *, rows: int) -> TokenizerFiles:
        """Read the tokenizer of a transformer, whose embedding matrix has ``rows`` rows.

        ``config`` is the transformer's ``config.json``.

        Raises:
            UnsupportedModel: there is no fast tokenizer, it cuts texts at an unknown end, or one
                of its tokens has no row.
        """
        path = folder / TOKENIZER
        text = _text(path)
        raw = _object(text, path)
        beside = {name: _read(folder / name) for name in _BESIDE}
        if is_plain(raw, beside, config, rows):
            usual = ("token_type_ids",) if is_bert(beside[CONFIG], config) else ()
            names = beside[CONFIG].get("model_input_names", usual)
            found, side = raw, _side(raw, beside[CONFIG])
        else:
            built = build_fast_tokenizer(folder)
            if built.splits_special:
                raise UnsupportedModel(f"{folder / CONFIG} has 'split_special_tokens', unsupported")
            names, side = built.input_names, built.truncation_side
            found = _without_defaults(_object(built.state, path), raw, beside, rows)
            text = json.dumps(found, ensure_ascii=False)
        if side not in _SIDES:
            raise UnsupportedModel(
                f"{folder / CONFIG} has 'truncation_side' = {side!r}; allowed: {', '.join(_SIDES)}"
            )
        _check_rows(folder, found, rows)
        return cls(text, "token_type_ids" in names, _SIDES[side])


def tokenizer_paths(folder: Path) -> list[Path]:
    """Return the paths of the files that decide a tokenizer, as far as they are there.

    Raises:
        UnsupportedModel: there is no ``tokenizer.json``.
    """
    if not (folder / TOKENIZER).is_file():
        raise missing_tokenizer(folder / TOKENIZER)
    return [folder / name for name in (TOKENIZER, *_BESIDE) if os.path.lexists(folder / name)]


def missing_tokenizer(path: Path) -> UnsupportedModel:
    """Return the error about a folder without ``tokenizer.json``, with the command for it."""
    folder = str(path.parent)
    return UnsupportedModel(
        f"{path} does not exist; only fast tokenizers run. To write it from the other files of the "
        f'tokenizer: python -c "from transformers import AutoTokenizer as A; '
        f'A.from_pretrained({folder!r}).save_pretrained({folder!r})"'
    )


def _side(raw: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    truncation = raw.get("truncation") or {}
    return str(config.get("truncation_side") or truncation.get("direction", "right")).lower()


def _without_defaults(
    built: Mapping[str, Any],
    raw: Mapping[str, Any],
    beside: Mapping[str, Mapping[str, Any]],
    rows: int,
) -> Mapping[str, Any]:
    """Leave out the tokens that only a class of transformers declares, and that have no row."""
    stated = {token["content"] for token in raw.get("added_tokens") or ()}
    stated |= {str(content_of(token)) for token in declared_tokens(beside)}
    kept = [
        token
        for token in built.get("added_tokens") or ()
        if token["id"] < rows or token["content"] in stated
    ]
    return {**built, "added_tokens": kept}


def _check_rows(folder: Path, state: Mapping[str, Any], rows: int) -> None:
    """Refuse a tokenizer that gives ids for which the embedding matrix has no row."""
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


def _text(path: Path) -> str:
    if not path.is_file():
        raise missing_tokenizer(path)
    try:
        return path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise UnsupportedModel(f"{path} is not a tokenizer: {error}") from error


def _object(text: str, path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(text)
        if not isinstance(content.get("model"), dict):
            raise TypeError("it has no 'model'")
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UnsupportedModel(f"{path} is not a tokenizer: {error}") from error
    return dict(content)


def _read(path: Path) -> Mapping[str, Any]:
    return read_object(path) if os.path.lexists(path) else {}
