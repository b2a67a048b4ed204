"""Read what the files of a multi-vector model say about its tokens and its queries.

The layouts are those of sentence-transformers' MultiVectorEncoder, of PyLate, of ColBERT (Khattab
and Zaharia, arXiv 2004.12832; Santhanam et al., arXiv 2112.01488) and of BGE-M3.
"""

from __future__ import annotations

import os
import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedder.core.errors import UnsupportedModel
from embedder.models.safety import read_object, read_optional, require_supported

COLBERT_LINEAR = "colbert_linear"
"""The name of the file of BGE-M3's projection, without its ending."""

_METADATA = "artifact.metadata"
"""The file in which ColBERT describes a checkpoint."""

_DEFAULT_EXPANSION = 32
"""The tokens of a query of a ColBERT model whose files state no number."""

_TASKS = ("query", "document")


@dataclass(frozen=True, slots=True)
class Expansion:
    """Queries shorter than ``length`` tokens are filled up with ``token``; None: the mask token.

    A smaller limit of the model takes the place of ``length``. With ``cuts`` longer ones are cut to
    it. Without ``attends`` no token attends to the ones that fill up, but these attend to the
    query.
    """

    length: int
    cuts: bool = True
    attends: bool = False
    token: str | None = None


@dataclass(frozen=True, slots=True)
class MultiVector:
    """Which tokens of an input have vectors, and how a query differs from a document.

    The projection is in ``file``; None: it is a Dense module of the layout, or with ``inline`` the
    tensor ``linear.weight`` of the transformer's weights. ``skips_first`` leaves out the first
    token. ``markers`` are prompts that are one token each, whatever their letters. The words of
    ``skipped`` get no vector in inputs of ``skipping`` ("query", "document"). The limits of tokens
    are None where the model's own limit holds.
    """

    file: Path | None = None
    inline: bool = False
    skips_first: bool = False
    markers: Mapping[str, str] | None = None
    expansion: Expansion | None = None
    query_limit: int | None = None
    document_limit: int | None = None
    skipped: tuple[str, ...] = ()
    skipping: tuple[str, ...] = ("document",)

    @property
    def description(self) -> str:
        """Return a text that is equal for equal vectors, without the path of a file."""
        parts = (self.inline, self.skips_first, self.expansion, self.query_limit)
        return repr((*parts, self.document_limit, self.skipped, self.skipping, self.markers))


def read_token_projection(directory: Path) -> MultiVector | None:
    """Return the projection of BGE-M3; None if the directory has no safetensors file of it.

    Every token but the first has a vector there, of queries as of documents.
    """
    file = directory / f"{COLBERT_LINEAR}.safetensors"
    return MultiVector(file, skips_first=True) if os.path.isfile(file) else None


def read_colbert(directory: Path) -> MultiVector:
    """Return what ``artifact.metadata`` says, else the values of ColBERT itself.

    Raises:
        UnsupportedModel: it has another similarity than the cosine, or a value of a wrong type.
    """
    path = directory / _METADATA
    data = read_object(path) if os.path.lexists(path) else {}
    require_supported(path, data, {"similarity": "cosine"})
    return MultiVector(
        inline=True,
        markers={
            "query": f"{data.get('query_token_id') or '[unused0]'} ",
            "document": f"{data.get('doc_token_id') or '[unused1]'} ",
        },
        expansion=Expansion(
            _limit(path, data, "query_maxlen") or _DEFAULT_EXPANSION,
            attends=bool(data.get("attend_to_mask_tokens")),
        ),
        document_limit=_limit(path, data, "doc_maxlen"),
        skipped=tuple(string.punctuation) if data.get("mask_punctuation", True) else (),
    )


def read_multi_vector(
    directory: Path, transformer: Path, mask: Path | None, *, pylate: bool
) -> MultiVector:
    """Return what the files of a MultiVectorEncoder say; ``mask`` is the folder of its mask.

    ``pylate``: PyLate wrote the files, for which a document's punctuation has no vectors unless
    they name other words.

    Raises:
        UnsupportedModel: an option is unknown or has an unsupported value.
    """
    old_path = directory / "config_sentence_transformers.json"
    path = transformer / "sentence_bert_config.json"
    old, config = read_optional(old_path), read_optional(path)
    expansion = _old_expansion(old_path, old)
    if "query_expansion" in config:
        expansion = _expansion(path, config["query_expansion"])
    markers = {
        task: old[f"{task}_prefix"] for task in _TASKS if isinstance(old.get(f"{task}_prefix"), str)
    }
    words, skipping = _mask(mask) if mask else (None, ("document",))
    if words is None:
        named = old.get("skiplist_words")
        words = _texts(old_path, "skiplist_words", named) if named is not None else None
    if words is None:
        words = tuple(string.punctuation) if pylate else ()
    return MultiVector(
        markers=markers or None,
        expansion=expansion,
        query_limit=_limit(path, config, "query_length"),
        document_limit=_limit(path, config, "document_length")
        or _limit(old_path, old, "document_length"),
        skipped=words,
        skipping=skipping,
    )


def _old_expansion(path: Path, old: Mapping[str, Any]) -> Expansion | None:
    """Return the expansion of a query that PyLate's keys describe; without any, there is none."""
    keys = ("query_length", "document_length", "do_query_expansion", "skiplist_words")
    more = ("attend_to_expansion_tokens", "attend_to_mask_tokens", "query_prefix")
    if not {*keys, *more, "document_prefix"} & old.keys() or old.get("do_query_expansion") is False:
        return None
    attends = old.get("attend_to_expansion_tokens", old.get("attend_to_mask_tokens"))
    length = _limit(path, old, "query_length") or _DEFAULT_EXPANSION
    return Expansion(length, attends=bool(attends))


def _expansion(path: Path, value: object) -> Expansion | None:
    if value is None:
        return None
    known = {"strategy", "attend", "token", "length"}
    if not isinstance(value, dict) or value.keys() - known:
        raise UnsupportedModel(
            f"{path} has 'query_expansion' = {value!r}; its keys are {', '.join(sorted(known))}"
        )
    length = _limit(path, value, "length")
    strategy, token = value.get("strategy"), value.get("token")
    if strategy not in ("fixed", "min") or length is None or not isinstance(token, str | None):
        raise UnsupportedModel(
            f"{path} has 'query_expansion' = {value!r}; its strategy is 'fixed' or 'min', with a "
            "length above 0"
        )
    return Expansion(length, strategy == "fixed", bool(value.get("attend")), token)


def _mask(folder: Path) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Return the words without vectors, and in which inputs."""
    path = folder / "config.json"
    config = read_optional(path)
    require_supported(path, config, {"keep_only_token_ids": None})
    words, tasks = config.get("skiplist_words"), config.get("skiplist_tasks")
    tasks = [tasks] if isinstance(tasks, str) else tasks
    skipping = ("document",) if tasks is None else _texts(path, "skiplist_tasks", tasks)
    if set(skipping) - set(_TASKS):
        raise UnsupportedModel(
            f"{path} has 'skiplist_tasks' = {tasks!r}; known: {', '.join(_TASKS)}"
        )
    return (() if words is None else _texts(path, "skiplist_words", words)), skipping


def _texts(path: Path, key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise UnsupportedModel(f"{path} has {key!r} = {value!r}; it must be a list of texts")
    return tuple(value)


def _limit(path: Path, values: Mapping[str, Any], key: str) -> int | None:
    value = values.get(key)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    raise UnsupportedModel(
        f"{path} has {key!r} = {value!r}; it must be a whole number of tokens above 0"
    )
