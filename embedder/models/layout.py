"""Read the layout of a model directory: the modules of sentence-transformers, or a cross-encoder.

``modules.json`` may list Transformer, Pooling, Dense and Normalize; no module is imported by its
name. A model without ``modules.json`` gets the configured pooling, else the one that
sentence-transformers would use. If neither names a pooling, a model for sequence classification
computes scores.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from embedder.core.errors import UnsupportedModel
from embedder.models.classifier import (
    SCORE_ACTIVATIONS,
    Classifier,
    first_architecture,
    read_classifier,
)
from embedder.models.safety import read_json, read_object, require_supported
from embedder.settings.model import PoolingName

MODULES = "modules.json"

_TYPES = ("Transformer", "Pooling", "Dense", "Normalize")
"""Class names; their Python modules differ between releases of sentence-transformers."""

_POOLINGS: dict[PoolingName, tuple[str, str]] = {
    "cls": ("pooling_mode_cls_token", "cls"),
    "max": ("pooling_mode_max_tokens", "max"),
    "mean": ("pooling_mode_mean_tokens", "mean"),
    "mean_sqrt_len": ("pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens"),
    "weighted_mean": ("pooling_mode_weightedmean_tokens", "weightedmean"),
    "last": ("pooling_mode_lasttoken", "lasttoken"),
}
"""The flag of each pooling in releases below 6, in the order in which several are concatenated, and
its name in release 6, which writes one name or an ordered list."""

ACTIVATIONS: dict[str, str] = {
    **SCORE_ACTIVATIONS,
    "torch.nn.modules.activation.GELU": "gelu",
    "torch.nn.modules.activation.SiLU": "silu",
}
"""The activations that a Dense module may name, by the class that its file states."""

_NORMALIZE_OPTIONS = {
    "module_input_name": "sentence_embedding",
    "module_output_name": "sentence_embedding",
}
"""Options of a module, with the only supported value of each."""


@dataclass(frozen=True, slots=True)
class Dense:
    """A linear map after the pooling, in ``folder``, and the activation after it."""

    folder: Path
    activation: str


@dataclass(frozen=True, slots=True)
class Layout:
    """The modules of a model in the order in which they are applied.

    Several poolings are concatenated. With a ``classifier`` the model computes scores from its
    first token. ``notes`` has a sentence for each assumption that was made.
    """

    transformer: Path
    pooling: tuple[PoolingName, ...]
    dense: tuple[Dense, ...] = ()
    normalizes: bool = False
    notes: tuple[str, ...] = ()
    classifier: Classifier | None = None


def read_layout(
    directory: Path, *, pooling: PoolingName | None, fallback: PoolingName | None = None
) -> Layout:
    """Read the layout of a model; ``pooling`` replaces the pooling in its files.

    A model without ``modules.json`` gets ``fallback``, or the default of its architecture if that
    is None.

    Raises:
        UnsupportedModel: a module has another type, another position or an unsupported option.
    """
    if pooling is None and (scores := _scoring_layout(directory, fallback)) is not None:
        return scores
    if not os.path.lexists(directory / MODULES):
        chosen = pooling or fallback or _default_pooling(directory)
        notes = () if pooling else (f"no {MODULES}: {chosen} pooling is assumed",)
        return Layout(directory, (chosen,), notes=notes)
    modules = list(_modules(directory))
    kinds = [kind for kind, _ in modules]
    reordered = kinds != sorted(kinds, key=_TYPES.index)
    if reordered or kinds.count("Transformer") != 1 or kinds.count("Pooling") > 1:
        raise UnsupportedModel(
            f"{directory / MODULES} asks for {' → '.join(kinds)}; what is computed is "
            "Transformer → Pooling → any number of Dense → Normalize"
        )
    folders = dict(modules)
    if pooling is None and "Pooling" not in folders:
        raise UnsupportedModel(f"{directory / MODULES} has no Pooling; set model.pooling")
    for kind, folder in modules:
        if kind == "Normalize" and os.path.lexists(folder / "config.json"):
            require_supported(
                folder / "config.json", read_object(folder / "config.json"), _NORMALIZE_OPTIONS
            )
    return Layout(
        transformer=folders["Transformer"],
        pooling=(pooling,) if pooling else _pooling(folders["Pooling"]),
        dense=tuple(_dense(folder) for kind, folder in modules if kind == "Dense"),
        normalizes="Normalize" in folders,
    )


def _scoring_layout(directory: Path, fallback: PoolingName | None) -> Layout | None:
    """Return the layout of a cross-encoder; None if the files or ``fallback`` name a pooling."""
    transformer = directory
    if os.path.lexists(directory / MODULES):
        modules = list(_modules(directory))
        if [kind for kind, _ in modules] != ["Transformer"]:
            return None
        ((_, transformer),) = modules
    elif fallback is not None:
        return None
    classifier = read_classifier(directory, transformer)
    if classifier is None:
        return None
    return Layout(transformer, ("cls",), classifier=classifier)


def _default_pooling(directory: Path) -> PoolingName:
    """Return the pooling that sentence-transformers uses for a model without modules."""
    config = read_object(directory / "config.json")
    decodes = first_architecture(config).endswith("ForCausalLM")
    return "last" if decodes and config.get("is_causal", True) else "mean"


def _modules(directory: Path) -> Iterator[tuple[str, Path]]:
    path = directory / MODULES
    entries = read_json(path)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UnsupportedModel(f"{path} is not a list of modules")
    for entry in entries:
        kind, folder = str(entry.get("type")), entry.get("path")
        short = kind.rpartition(".")[2]
        if short not in _TYPES or not kind.startswith("sentence_transformers."):
            raise UnsupportedModel(f"{path} asks for {kind!r}; supported: " + ", ".join(_TYPES))
        if not isinstance(folder, str) or not _is_inside(folder):
            raise UnsupportedModel(f"{path} names the folder {folder!r}, outside of the model's")
        yield short, directory / folder


def _is_inside(folder: str) -> bool:
    path = PureWindowsPath(folder)  # splits at both separators, and recognises drives
    return folder.isprintable() and not path.anchor and ".." not in path.parts


def _pooling(folder: Path) -> tuple[PoolingName, ...]:
    path = folder / "config.json"
    config = read_object(path)
    if not config.get("include_prompt", True):
        raise UnsupportedModel(
            f"{path} leaves the prompt out of the pooling, which is not computed"
        )
    named = config.get("pooling_mode")
    if named is None:
        # Without a flag, sentence-transformers uses the mean.
        flagged = tuple(name for name, (flag, _) in _POOLINGS.items() if config.get(flag))
        return flagged or ("mean",)
    wanted = named if isinstance(named, list) else [named]
    names = {written: name for name, (_, written) in _POOLINGS.items()}
    if not wanted or not all(isinstance(name, str) and name in names for name in wanted):
        raise UnsupportedModel(f"{path} names the pooling {named!r}; supported: {', '.join(names)}")
    return tuple(names[name] for name in wanted)


def _dense(folder: Path) -> Dense:
    path = folder / "config.json"
    config = read_object(path)
    name = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    if name not in ACTIVATIONS:
        raise UnsupportedModel(
            f"{path} has the activation {name!r}; allowed: {', '.join(ACTIVATIONS)}"
        )
    require_supported(path, config, {**_NORMALIZE_OPTIONS, "use_residual": False})
    return Dense(folder, ACTIVATIONS[name])
