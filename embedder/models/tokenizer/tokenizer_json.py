"""Whether ``tokenizer.json`` alone decides how texts become ids.

Nothing in the files beside it may say otherwise. That can be read off the files for the commonest
tokenizers: those of BERT, and generic ones. Knows nothing of how files are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

CONFIG = "tokenizer_config.json"
SPECIAL_TOKENS = "special_tokens_map.json"
ADDED_TOKENS = "added_tokens.json"

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


def is_plain(
    raw: Mapping[str, Any],
    beside: Mapping[str, Mapping[str, Any]],
    config: Mapping[str, Any],
    rows: int,
) -> bool:
    """Tell whether ``tokenizer.json`` decides: nothing beside it can change what it says.

    ``raw`` is its content, ``beside`` has the content of the other files by their names, ``config``
    is that of the transformer, and ``rows`` is the number of rows of its embedding matrix.
    """
    stated = beside[CONFIG]
    if config.get("model_type") not in _KINDS or any(stated.get(key) for key in _REBUILDING):
        return False
    added = {token.get("content"): token for token in raw.get("added_tokens") or ()}
    if not all(_agrees(token, added) for token in declared_tokens(beside)):
        return False
    if is_bert(stated, config):
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


def is_bert(stated: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Tell whether a tokenizer is of BERT's class; ``stated`` is its own configuration."""
    return _class_of(stated, config).removesuffix("Fast") == "BertTokenizer"


def declared_tokens(beside: Mapping[str, Mapping[str, Any]]) -> Iterator[Any]:
    """Give every token that the files beside ``tokenizer.json`` declare: a text, or an object."""
    yield from beside[ADDED_TOKENS]
    for file in (CONFIG, SPECIAL_TOKENS):
        values = beside[file]
        yield from (values[key] for key in _NAMED_TOKENS if values.get(key) is not None)
        for key in _LISTED_TOKENS:
            listed = values.get(key) or ()
            yield from listed.values() if isinstance(listed, dict) else listed
    yield from (beside[CONFIG].get("added_tokens_decoder") or {}).values()


def content_of(token: Any) -> str | None:
    """Return the text of a token, which files state as a text or as an object."""
    content = token.get("content") if isinstance(token, dict) else token
    return None if content is None else str(content)


def _class_of(stated: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    usual = "BertTokenizer" if config.get("model_type") == "bert" else None
    return str(stated.get("tokenizer_class") or config.get("tokenizer_class") or usual)


def _is_as_bert(raw: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Tell whether a tokenizer is the one that transformers builds for BERT."""
    tokens = {key: content_of(config.get(key, usual)) for key, usual in _BERT_TOKENS.items()}
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


def _agrees(token: Any, added: Mapping[str, Mapping[str, Any]]) -> bool:
    """Tell whether ``tokenizer.json`` has a declared token, and its flags where they are stated."""
    flags = {key: token[key] for key in _SPECIAL if key in token} if isinstance(token, dict) else {}
    wanted = {"content": content_of(token), **flags}
    return added.get(str(content_of(token)), {}).items() >= wanted.items()
