"""How a model's texts become ids: what the files of its tokenizer say together.

``tokenizer.json`` alone decides only where nothing beside it says otherwise, which is read off the
files for the commonest tokenizers; for all others the answer is that of transformers.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedder.errors import UnsupportedModel
from embedder.models.reference_tokenizer import read_reference
from embedder.models.safety import read_object

TOKENIZER = "tokenizer.json"
_CONFIG = "tokenizer_config.json"
_BESIDE = (_CONFIG, "special_tokens_map.json", "added_tokens.json")
"""Files that change what ``tokenizer.json`` says; each may be missing."""

_GENERIC = {"PreTrainedTokenizer", "PreTrainedTokenizerFast", "TokenizersBackend"}
_KINDS = {"bert", "distilbert", "roberta", "xlm-roberta", "camembert", "mpnet"}
"""Architectures with which transformers takes a tokenizer of a generic class as it is."""

_BERT_TOKENS = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
_NAMED_TOKENS = (*_BERT_TOKENS, "bos_token", "eos_token")
_LISTED_TOKENS = ("additional_special_tokens", "extra_special_tokens")
_SPECIAL = {
    "single_word": False,
    "lstrip": False,
    "rstrip": False,
    "normalized": False,
    "special": True,
}
"""The flags of a special token that a class of transformers adds itself."""

_PREPARING = ("do_lower_case", "strip_accents", "tokenize_chinese_chars", "add_prefix_space")
_REBUILDING = ("add_bos_token", "add_eos_token", "split_special_tokens", "auto_map")
"""Keys of a configuration that change what a tokenizer of any class does."""


@dataclass(frozen=True, slots=True)
class TokenizerFiles:
    """A tokenizer as its files describe it.

    ``state`` is the JSON of the Rust tokenizer. ``gives_types`` says that a model is given the
    token types, and not only the ids.
    """

    state: str
    gives_types: bool

    @classmethod
    def read(cls, folder: Path, config: Mapping[str, Any], *, rows: int) -> TokenizerFiles:
        """Read the tokenizer of a transformer, whose embedding matrix has ``rows`` rows.

        ``config`` is the transformer's ``config.json``.

        Raises:
            UnsupportedModel: there is no fast tokenizer, it cuts texts at their start, or one of
                its tokens has no row.
        """
        path = folder / TOKENIZER
        text = _text(path)
        raw = _object(text, path)
        beside = {name: _read(folder / name) for name in _BESIDE}
        if _is_plain(raw, beside, config, rows):
            usual = ("token_type_ids",) if _is_bert(beside[_CONFIG], config) else ()
            names = beside[_CONFIG].get("model_input_names", usual)
            found, side = raw, _side(raw, beside[_CONFIG])
        else:
            built = read_reference(folder)
            if built.splits_special:
                raise UnsupportedModel(
                    f"{folder / _CONFIG} has 'split_special_tokens', unsupported"
                )
            names, side = built.input_names, built.truncation_side
            found = _without_defaults(_object(built.state, path), raw, beside, rows)
            text = json.dumps(found, ensure_ascii=False)
        if side != "right":
            raise UnsupportedModel(
                f"{folder} has a tokenizer whose truncation_side is {side!r}; texts are cut at "
                "their end here unless a request says otherwise. Set truncation_side to 'right' "
                f"in {_CONFIG} to accept that"
            )
        _check_rows(folder, found, rows)
        return cls(text, "token_type_ids" in names)


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


def _is_plain(
    raw: Mapping[str, Any],
    beside: Mapping[str, Mapping[str, Any]],
    config: Mapping[str, Any],
    rows: int,
) -> bool:
    """Tell whether ``tokenizer.json`` decides: nothing beside it can change what it says."""
    stated = beside[_CONFIG]
    if config.get("model_type") not in _KINDS or any(stated.get(key) for key in _REBUILDING):
        return False
    added = {token.get("content"): token for token in raw.get("added_tokens") or ()}
    if not all(_agrees(token, added) for token in _declared(beside)):
        return False
    if _is_bert(stated, config):
        vocabulary = raw["model"].get("vocab", {})
        # A default that the vocabulary lacks is added behind it, where there may be a row or not.
        spare = rows > len(vocabulary)
        wanted = {token for token in _BERT_TOKENS.values() if spare or token in vocabulary}
        special = all(token.items() >= _SPECIAL.items() for token in added.values())
        return special and wanted <= added.keys() and _is_as_bert(raw, stated)
    return (
        _class_of(stated, config) in _GENERIC
        and raw.get("post_processor") is not None
        and not any(key in stated for key in _PREPARING)
    )


def _class_of(stated: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    usual = "BertTokenizer" if config.get("model_type") == "bert" else None
    return str(stated.get("tokenizer_class") or config.get("tokenizer_class") or usual)


def _is_bert(stated: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    return _class_of(stated, config).removesuffix("Fast") == "BertTokenizer"


def _is_as_bert(raw: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Tell whether a tokenizer is the one that transformers builds for BERT."""
    tokens = {key: _content(config.get(key, usual)) for key, usual in _BERT_TOKENS.items()}
    model, processor = raw.get("model"), raw.get("post_processor")
    if not isinstance(model, dict) or not isinstance(processor, dict):
        return False
    template = [
        {"SpecialToken": {"id": tokens["cls_token"], "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": tokens["sep_token"], "type_id": 0}},
    ]
    normalizer = {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": config.get("tokenize_chinese_chars", True),
        "strip_accents": config.get("strip_accents"),
        "lowercase": config.get("do_lower_case", True),
    }
    return (
        raw.get("normalizer") == normalizer
        and raw.get("pre_tokenizer") == {"type": "BertPreTokenizer"}
        and processor.get("single") == template
        and model.get("type", "WordPiece") == "WordPiece"
        and model.get("unk_token") == tokens["unk_token"]
        and model.get("continuing_subword_prefix", "##") == "##"
        and model.get("max_input_chars_per_word", 100) == 100
    )


def _declared(beside: Mapping[str, Mapping[str, Any]]) -> Iterator[Any]:
    """Give every token that the files beside ``tokenizer.json`` declare: a text, or an object."""
    yield from beside["added_tokens.json"]
    for file in (_CONFIG, "special_tokens_map.json"):
        values = beside[file]
        yield from (values[key] for key in _NAMED_TOKENS if values.get(key) is not None)
        for key in _LISTED_TOKENS:
            listed = values.get(key) or ()
            yield from listed.values() if isinstance(listed, dict) else listed
    yield from (beside[_CONFIG].get("added_tokens_decoder") or {}).values()


def _agrees(token: Any, added: Mapping[str, Mapping[str, Any]]) -> bool:
    """Tell whether ``tokenizer.json`` has a declared token, and its flags where they are stated."""
    flags = {key: token[key] for key in _SPECIAL if key in token} if isinstance(token, dict) else {}
    return (
        added.get(str(_content(token)), {}).items() >= {"content": _content(token), **flags}.items()
    )


def _content(token: Any) -> str | None:
    """Return the text of a token, which files state as a text or as an object."""
    content = token.get("content") if isinstance(token, dict) else token
    return None if content is None else str(content)


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
    stated |= {str(_content(token)) for token in _declared(beside)}
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
