"""Decide whether ``tokenizer.json`` alone describes a tokenizer.

The companion files may override it. For the most common tokenizers (BERT's and generic classes)
this can be decided from the files; all others are built by transformers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

CONFIG = "tokenizer_config.json"
SPECIAL_TOKENS = "special_tokens_map.json"
ADDED_TOKENS = "added_tokens.json"

_GENERIC = {"PreTrainedTokenizer", "PreTrainedTokenizerFast", "TokenizersBackend"}
_SELF_CONTAINED = {"bert", "distilbert", "roberta", "xlm-roberta", "camembert", "mpnet"}
"""Architectures for which transformers uses a tokenizer of a generic class unchanged."""

_BERT_TOKENS = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
_NAMED_TOKENS = (*_BERT_TOKENS, "bos_token", "eos_token")
_LISTED_TOKENS = ("additional_special_tokens", "extra_special_tokens")
_SPECIAL_FLAGS = {
    "single_word": False,
    "lstrip": False,
    "rstrip": False,
    "normalized": False,
    "special": True,
}
"""The flags of a special token that a transformers class adds by itself."""

_NORMALIZER_KEYS = (
    "do_lower_case",
    "strip_accents",
    "tokenize_chinese_chars",
    "add_prefix_space",
)
_OVERRIDING_KEYS = ("add_bos_token", "add_eos_token", "split_special_tokens", "auto_map")
"""Configuration keys that change a tokenizer of any class."""


def is_self_contained(
    raw: Mapping[str, Any],
    companions: Mapping[str, Mapping[str, Any]],
    config: Mapping[str, Any],
    rows: int,
) -> bool:
    """Return whether no companion file changes the tokenizer in ``tokenizer.json``.

    ``raw`` is the content of that file, ``companions`` that of the other files by name, ``config``
    the transformer's ``config.json``, and ``rows`` the number of rows of its embedding matrix.
    """
    tokenizer_config = companions[CONFIG]
    if config.get("model_type") not in _SELF_CONTAINED or any(
        tokenizer_config.get(key) for key in _OVERRIDING_KEYS
    ):
        return False
    added = {token.get("content"): token for token in raw.get("added_tokens") or ()}
    if not all(_agrees(token, added) for token in declared_tokens(companions)):
        return False
    if is_bert(tokenizer_config, config):
        vocabulary = raw["model"].get("vocab", {})
        # transformers appends a default token that the vocabulary lacks, if a row is left for it.
        has_spare_rows = rows > len(vocabulary)
        wanted = {token for token in _BERT_TOKENS.values() if has_spare_rows or token in vocabulary}
        special = all(token.items() >= _SPECIAL_FLAGS.items() for token in added.values())
        return special and wanted <= added.keys() and _is_standard_bert(raw, tokenizer_config)
    return (
        _class_name(tokenizer_config, config) in _GENERIC
        and raw.get("post_processor") is not None
        and not any(key in tokenizer_config for key in _NORMALIZER_KEYS)
    )


def is_bert(tokenizer_config: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Return whether a tokenizer is of BERT's class."""
    return _class_name(tokenizer_config, config).removesuffix("Fast") == "BertTokenizer"


def declared_tokens(companions: Mapping[str, Mapping[str, Any]]) -> Iterator[Any]:
    """Yield every token that the companion files declare, as a text or an object."""
    yield from companions[ADDED_TOKENS]
    for file in (CONFIG, SPECIAL_TOKENS):
        values = companions[file]
        yield from (values[key] for key in _NAMED_TOKENS if values.get(key) is not None)
        for key in _LISTED_TOKENS:
            listed = values.get(key) or ()
            yield from listed.values() if isinstance(listed, dict) else listed
    yield from (companions[CONFIG].get("added_tokens_decoder") or {}).values()


def content_of(token: Any) -> str | None:
    """Return the text of a token that a file declares as a text or an object."""
    content = token.get("content") if isinstance(token, dict) else token
    return None if content is None else str(content)


def _class_name(tokenizer_config: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    default = "BertTokenizer" if config.get("model_type") == "bert" else None
    return str(tokenizer_config.get("tokenizer_class") or config.get("tokenizer_class") or default)


def _is_standard_bert(raw: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Return whether a tokenizer is the one that transformers builds for BERT."""
    tokens = {key: content_of(config.get(key, default)) for key, default in _BERT_TOKENS.items()}
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
    """Return whether ``tokenizer.json`` has a declared token with the declared flags."""
    flags = (
        {key: token[key] for key in _SPECIAL_FLAGS if key in token}
        if isinstance(token, dict)
        else {}
    )
    wanted = {"content": content_of(token), **flags}
    return added.get(str(content_of(token)), {}).items() >= wanted.items()
