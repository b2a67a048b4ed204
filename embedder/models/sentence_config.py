"""Read ``config_sentence_transformers.json``: prompts and similarity."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from embedder.core.errors import UnsupportedModel
from embedder.core.outputs import OutputKind
from embedder.core.types import SimilarityName
from embedder.models.prompts import EVERY_MODEL_HAS
from embedder.models.safety import read_optional, require_supported
from embedder.settings.model import ModelSettings

_MODEL_TYPES = {
    OutputKind.DENSE: "SentenceTransformer",
    OutputKind.SCORES: "CrossEncoder",
    OutputKind.SPARSE: "SparseEncoder",
    OutputKind.TOKENS: "MultiVectorEncoder",
}
"""The classes of sentence-transformers."""

_MAXSIM = ("maxsim", "meanmaxsim")


def read_sentence_config(directory: Path, kind: OutputKind = OutputKind.DENSE) -> Mapping[str, Any]:
    """Return the content of the file; it is empty if a model has no such file.

    Raises:
        UnsupportedModel: the file asks for cut vectors or weights, for another result than
            ``kind``, the model's default, or for a prompt in front of pairs.
    """
    path = directory / "config_sentence_transformers.json"
    config = read_optional(path)
    if config.get("truncate_dim") is not None:
        raise UnsupportedModel(
            f"{path} has 'truncate_dim' = {config['truncate_dim']!r}; vectors have all dimensions "
            "here unless a request asks for fewer (see model.matryoshka)"
        )
    written = config.get("model_type")
    if written == "ColBERT" and kind is OutputKind.TOKENS:
        written = _MODEL_TYPES[kind]  # of PyLate
    require_supported(path, {"model_type": written}, {"model_type": _MODEL_TYPES[kind]})
    require_supported(path, config, {"max_active_dims": None})
    if kind is OutputKind.SCORES:
        require_supported(path, config, {"default_prompt_name": None})
    return config


def merge_prompts(
    config: Mapping[str, Any],
    row_prompts: Mapping[str, str],
    settings: ModelSettings,
    *,
    markers: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the prompts of a model by name; ``markers`` come before the prompts of its files.

    The settings take precedence over the files, and the files over the catalogue row. An empty
    prompt in the files does not replace the row's: some libraries write one for every model.

    Raises:
        UnsupportedModel: a prompt of the files is not Unicode text.
    """
    written = _written_prompts(config)
    for name, marker in (markers or {}).items():
        written[name] = marker + written.get(name, "").removeprefix(marker)
    filled = {name: text for name, text in written.items() if text}
    return {**written, **row_prompts, **filled, **settings.prompts}


def default_prompt(
    config: Mapping[str, Any], prompts: Mapping[str, str], settings: ModelSettings
) -> str | None:
    """Return the name of the prompt for requests that name none.

    Raises:
        UnsupportedModel: the settings or the files name a prompt that the model does not have.
    """
    wanted = settings.default_prompt
    if wanted is None:
        wanted = config.get("default_prompt_name")
    # Membership is tested in lists, because a value of the file need not be hashable.
    if wanted is None or wanted in list(prompts):
        return wanted
    if settings.default_prompt is None and wanted in list(EVERY_MODEL_HAS):
        return None
    raise UnsupportedModel(
        f"the default prompt is {wanted!r}; there are: {', '.join(prompts) or 'none'}"
    )


def similarity_name(
    config: Mapping[str, Any], kind: OutputKind = OutputKind.DENSE
) -> SimilarityName:
    """Return the similarity that the model was trained for; cosine if the file names none.

    Of sparse weights it is the dot product then. Token vectors are compared by MaxSim, of cosines.

    Raises:
        UnsupportedModel: the file names another similarity.
    """
    wanted = config.get("similarity_fn_name")
    if kind is OutputKind.TOKENS and wanted in (None, *_MAXSIM):
        return "cosine"
    wanted = wanted or ("dot" if kind is OutputKind.SPARSE else "cosine")
    known: tuple[SimilarityName, ...] = get_args(SimilarityName)
    if wanted not in known:
        raise UnsupportedModel(f"the similarity is {wanted!r}; supported: {', '.join(known)}")
    return known[known.index(wanted)]


def _written_prompts(config: Mapping[str, Any]) -> dict[str, str]:
    prompts = config.get("prompts") or {}
    if not isinstance(prompts, dict):
        raise UnsupportedModel(f"'prompts' is {prompts!r}; it must be an object")
    for name, text in prompts.items():
        if not isinstance(text, str | None) or not _is_unicode(f"{name}{text}"):
            raise UnsupportedModel(f"the prompt {name!r} is {text!r}; it must be Unicode text")
    return {name: text or "" for name, text in prompts.items()}


def _is_unicode(text: str) -> bool:
    """Return whether a text can be encoded: JSON may hold lone surrogates."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)
