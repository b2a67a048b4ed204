"""Read the modules that follow a transformer: Pooling, Dense and Normalize."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from embedder.core.errors import UnsupportedModel
from embedder.models.heads.classifier import SCORE_ACTIVATIONS, first_architecture
from embedder.models.safety import read_object, require_supported
from embedder.settings.model import PoolingName

SENTENCE = "sentence_embedding"
MULTI_VECTOR = "token_embeddings"
"""What a module reads and writes: one vector for each input, or for each token."""

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


@dataclass(frozen=True, slots=True)
class Dense:
    """A linear map of vectors, in ``folder``, and the activation after it."""

    folder: Path
    activation: str


def read_pooling(folder: Path) -> tuple[PoolingName, ...]:
    """Return the poolings that are concatenated.

    Raises:
        UnsupportedModel: a pooling or an option is not computed.
    """
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


def default_pooling(directory: Path) -> PoolingName:
    """Return the pooling that sentence-transformers uses for a model without modules."""
    config = read_object(directory / "config.json")
    decodes = first_architecture(config).endswith("ForCausalLM")
    return "last" if decodes and config.get("is_causal", True) else "mean"


def read_dense(folder: Path, level: str = SENTENCE) -> Dense:
    """Return a linear map of each input's vector, or with ``level`` `MULTI_VECTOR` of each token's.

    Raises:
        UnsupportedModel: the activation or an option is not computed.
    """
    path = folder / "config.json"
    config = read_object(path)
    name = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    if name not in ACTIVATIONS:
        raise UnsupportedModel(
            f"{path} has the activation {name!r}; allowed: {', '.join(ACTIVATIONS)}"
        )
    require_supported(path, config, {**_options(level), "use_residual": False})
    return Dense(folder, ACTIVATIONS[name])


def check_normalize(folder: Path, level: str = SENTENCE) -> None:
    """Check that a module normalizes what the module before it returns.

    Raises:
        UnsupportedModel: it reads or writes something else.
    """
    path = folder / "config.json"
    if os.path.lexists(path):
        require_supported(path, read_object(path), _options(level))


def _options(level: str) -> dict[str, str]:
    """Return the options of a module, with the only supported value of each."""
    return {"module_input_name": level, "module_output_name": level}
