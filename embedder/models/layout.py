"""Read the layout of a model directory: the modules of sentence-transformers, or a known head.

``modules.json`` may list Transformer, Pooling, Dense and Normalize, or the modules of sparse and of
multi-vector models; no module is imported by its name. A model without ``modules.json`` gets the
configured pooling, else the one that sentence-transformers would use. If neither names a pooling, a
model for sequence classification computes scores, and ColBERT's computes token vectors.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from embedder.core.errors import UnsupportedModel
from embedder.core.outputs import OutputKind
from embedder.models.heads.classifier import Classifier, first_architecture, read_classifier
from embedder.models.heads.dense import (
    MULTI_VECTOR,
    Dense,
    check_normalize,
    default_pooling,
    read_dense,
    read_pooling,
)
from embedder.models.heads.multi_vector import (
    COLBERT_LINEAR,
    MultiVector,
    read_colbert,
    read_multi_vector,
    read_token_projection,
)
from embedder.models.heads.sparse import (
    SPARSE_LINEAR,
    Splade,
    TokenWeights,
    read_splade,
    read_token_weights,
)
from embedder.models.modules import MODULES, Modules, read_modules, wrong_order
from embedder.models.safety import read_object, read_optional
from embedder.settings.model import PoolingName

_DENSE = ("Transformer", "Pooling", "Dense", "Normalize")

_MULTI_VECTOR_TYPES = ("MultiVectorEncoder", "ColBERT")
"""The model types of multi-vector models; the second is PyLate's."""

_HEAD_FILES = {OutputKind.SPARSE: SPARSE_LINEAR, OutputKind.TOKENS: COLBERT_LINEAR}


@dataclass(frozen=True, slots=True)
class Layout:
    """The modules of a model in the order in which they are applied.

    Several poolings are concatenated. With a ``classifier`` the model computes scores from its
    first token. ``sparse`` and ``multi_vector`` describe its other results; without a ``pooling``,
    ``dense`` and ``normalizes`` are those of token vectors. ``notes`` has a sentence for each
    assumption that was made.
    """

    transformer: Path
    pooling: tuple[PoolingName, ...]
    dense: tuple[Dense, ...] = ()
    normalizes: bool = False
    notes: tuple[str, ...] = ()
    classifier: Classifier | None = None
    sparse: Splade | TokenWeights | None = None
    multi_vector: MultiVector | None = None

    @property
    def outputs(self) -> tuple[OutputKind, ...]:
        """Return the kinds of results, the default one first."""
        vectors = OutputKind.DENSE if self.classifier is None else OutputKind.SCORES
        found = {
            vectors: bool(self.pooling),
            OutputKind.SPARSE: self.sparse is not None,
            OutputKind.TOKENS: self.multi_vector is not None,
        }
        return tuple(kind for kind, exists in found.items() if exists)

    @property
    def head_files(self) -> list[Path]:
        """Return the files of heads that lie beside the weights."""
        sparse, tokens = self.sparse, self.multi_vector
        files = [sparse.file] if isinstance(sparse, TokenWeights) else []
        return files + ([tokens.file] if tokens is not None and tokens.file is not None else [])


def read_layout(
    directory: Path,
    *,
    pooling: PoolingName | None,
    fallback: PoolingName | None = None,
    outputs: Collection[OutputKind] | None = None,
) -> Layout:
    """Read the layout of a model; ``pooling`` replaces the pooling in its files.

    A model without ``modules.json`` gets ``fallback``, or the default of its architecture if that
    is None. ``outputs`` are the results to compute; None: those that the files describe.

    Raises:
        UnsupportedModel: a module has another type, another position or an unsupported option, or
            the model has none of one of ``outputs``.
    """
    modules = read_modules(directory) if os.path.lexists(directory / MODULES) else None
    kinds = [kind for kind, _ in modules or []]
    vectors = pooling is not None or OutputKind.DENSE in (outputs or ())
    if modules and not vectors and "SpladePooling" in kinds:
        layout = _splade_layout(directory, modules)
    elif modules and not vectors and ("MultiVectorMask" in kinds or _is_multi_vector(directory)):
        layout = _multi_vector_layout(directory, modules)
    elif not vectors and (found := _known_head(directory, modules, fallback)) is not None:
        layout = found
    else:
        layout = _dense_layout(directory, modules, pooling, fallback)
        if layout.sparse is None and modules is None and OutputKind.SPARSE in (outputs or ()):
            layout = replace(layout, sparse=read_splade(directory, None))
    return layout if outputs is None else _only(layout, outputs, directory)


def _only(layout: Layout, outputs: Collection[OutputKind], directory: Path) -> Layout:
    """Return a layout without the results that are not asked for."""
    for kind in outputs:
        if kind in layout.outputs:
            continue
        has = ", ".join(each.value for each in layout.outputs)
        pickle = directory / f"{_HEAD_FILES.get(kind, '')}.pt"
        raise UnsupportedModel(
            f"model.outputs asks for {kind.value!r}; {directory} has {has}"
            + (f". {_refusal(pickle)}" if os.path.isfile(pickle) else "")
        )
    if not {OutputKind.DENSE, OutputKind.SCORES} & set(outputs) and layout.pooling:
        layout = replace(layout, pooling=(), dense=(), normalizes=False, notes=(), classifier=None)
    return replace(
        layout,
        sparse=layout.sparse if OutputKind.SPARSE in outputs else None,
        multi_vector=layout.multi_vector if OutputKind.TOKENS in outputs else None,
    )


def _refusal(pickle: Path) -> str:
    return (
        f"{pickle.name} is a pickle, which is never opened: store its tensors 'weight' and 'bias' "
        f"as {pickle.stem}.safetensors"
    )


def _is_multi_vector(directory: Path) -> bool:
    config = read_optional(directory / "config_sentence_transformers.json")
    return config.get("model_type") in _MULTI_VECTOR_TYPES


def _known_head(
    directory: Path, modules: Modules | None, fallback: PoolingName | None
) -> Layout | None:
    """Return the layout of a cross-encoder or of ColBERT; None if a pooling is named."""
    transformer = directory
    if modules is not None:
        if [kind for kind, _ in modules] != ["Transformer"]:
            return None
        ((_, transformer),) = modules
    elif fallback is not None:
        return None
    elif first_architecture(read_object(directory / "config.json")) == "HF_ColBERT":
        return Layout(directory, (), normalizes=True, multi_vector=read_colbert(directory))
    classifier = read_classifier(directory, transformer)
    return None if classifier is None else Layout(transformer, ("cls",), classifier=classifier)


def _dense_layout(
    directory: Path,
    modules: Modules | None,
    pooling: PoolingName | None,
    fallback: PoolingName | None,
) -> Layout:
    """Return the layout of dense vectors, with the heads of BGE-M3 if they lie beside."""
    notes = [_refusal(path) for path in _pickled_heads(directory)]
    sparse, tokens = read_token_weights(directory), read_token_projection(directory)
    if modules is None:
        chosen = pooling or fallback or default_pooling(directory)
        assumed = () if pooling else (f"no {MODULES}: {chosen} pooling is assumed",)
        return Layout(
            directory, (chosen,), notes=(*assumed, *notes), sparse=sparse, multi_vector=tokens
        )
    kinds = [kind for kind, _ in modules]
    if (
        set(kinds) - set(_DENSE)
        or kinds != sorted(kinds, key=_DENSE.index)
        or kinds.count("Transformer") != 1
        or kinds.count("Pooling") > 1
    ):
        raise wrong_order(directory, kinds, "Pooling → any number of Dense → Normalize")
    folders = dict(modules)
    if pooling is None and "Pooling" not in folders:
        raise UnsupportedModel(f"{directory / MODULES} has no Pooling; set model.pooling")
    for kind, folder in modules:
        if kind == "Normalize":
            check_normalize(folder)
    return Layout(
        transformer=folders["Transformer"],
        pooling=(pooling,) if pooling else read_pooling(folders["Pooling"]),
        dense=tuple(read_dense(folder) for kind, folder in modules if kind == "Dense"),
        normalizes="Normalize" in folders,
        notes=tuple(notes),
        sparse=sparse,
        multi_vector=tokens,
    )


def _pickled_heads(directory: Path) -> list[Path]:
    """Return the heads of BGE-M3 that exist only as pickles."""
    paths = [directory / f"{name}.pt" for name in _HEAD_FILES.values()]
    usable = ".safetensors"
    return [p for p in paths if os.path.isfile(p) and not os.path.isfile(p.with_suffix(usable))]


def _splade_layout(directory: Path, modules: Modules) -> Layout:
    kinds = [kind for kind, _ in modules]
    if kinds not in (["Transformer", "SpladePooling"], ["MLMTransformer", "SpladePooling"]):
        raise wrong_order(directory, kinds, "SpladePooling")
    (_, transformer), (_, pooling) = modules
    return Layout(transformer, (), sparse=read_splade(transformer, pooling))


def _multi_vector_layout(directory: Path, modules: Modules) -> Layout:
    kinds = [kind for kind, _ in modules]
    order = ("Transformer", "Dense", "MultiVectorMask", "Normalize")
    counted = all(kinds.count(kind) <= 1 for kind in order[2:]) and kinds.count(order[0]) == 1
    ranked = [2 if kind in order[2:] else order.index(kind) for kind in kinds if kind in order]
    if not counted or ranked != sorted(ranked) or len(ranked) != len(kinds):
        raise wrong_order(directory, kinds, "any number of Dense → MultiVectorMask → Normalize")
    folders = dict(modules)
    if "Normalize" in folders:
        check_normalize(folders["Normalize"], MULTI_VECTOR)
    config = read_optional(directory / "config_sentence_transformers.json")
    pylate = config.get("model_type") == "ColBERT"
    transformer, mask = folders["Transformer"], folders.get("MultiVectorMask")
    return Layout(
        transformer,
        (),
        dense=tuple(
            read_dense(folder, MULTI_VECTOR) for kind, folder in modules if kind == "Dense"
        ),
        normalizes=pylate or "Normalize" in folders,
        multi_vector=read_multi_vector(directory, transformer, mask, pylate=pylate),
    )
