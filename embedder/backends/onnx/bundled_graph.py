"""The ONNX graph that a model brings itself: where it is, whether it is safe, whether it fits.

Knows nothing of how a graph is run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from embedder.core.errors import UnsafeModel
from embedder.models.files import ModelFiles

BUNDLED_GRAPH = "onnx/model.onnx"
"""Below the transformer's folder."""

OUTPUTS = ("last_hidden_state", "token_embeddings")

_NEEDED = {"input_ids", "attention_mask"}
_TYPES = {"tensor(int32)", "tensor(int64)"}


def bundled_graph(files: ModelFiles) -> Path | None:
    """Return the path of a model's own graph, if it brings one."""
    path = files.layout.transformer / BUNDLED_GRAPH
    return path if path.is_file() else None


def graph_files(graph: Path) -> list[Path]:
    """Return the files of a graph: its own, and those that it keeps weights in.

    Raises:
        UnsafeModel: it wants a file outside of its folder.
        ValueError: it cannot be read.
    """
    # Whoever only asks whether there is a graph need not have the library.
    import onnx

    try:
        model = onnx.load(graph, load_external_data=False)
    except Exception as error:  # the reader's errors have no base of their own
        raise ValueError(f"it cannot be read: {error}") from error
    locations = {
        entry.value
        for tensor in _tensors_of(model)
        for entry in tensor.external_data
        if entry.key == "location"
    }
    for location in sorted(locations):
        path = PurePosixPath(location.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in location:
            raise UnsafeModel(f"{graph} keeps weights in {location!r}, outside of its folder")
    return [graph, *(graph.parent / location for location in sorted(locations))]


def unusable_reason(inputs: Iterable[Any], outputs: Iterable[Any]) -> str | None:
    """Say why a graph with these inputs and outputs, as a session lists them, is of no use."""
    given = {entry.name: entry for entry in inputs}
    if not _NEEDED <= given.keys() <= _NEEDED | {"token_type_ids"}:
        return f"its inputs are {', '.join(given)}"
    for name, entry in given.items():
        if entry.type not in _TYPES or len(entry.shape) != 2:
            return f"its input {name} is a {entry.type} of shape {entry.shape}"
        if any(isinstance(size, int) for size in entry.shape):
            return f"its input {name} has a fixed shape, {entry.shape}"
    for entry in outputs:
        if entry.name in OUTPUTS:
            last = entry.shape[-1] if len(entry.shape) == 3 else None
            fits = entry.type == "tensor(float)" and isinstance(last, int)
            return None if fits else f"its {entry.name} is a {entry.type} of shape {entry.shape}"
    return f"it has no output {' or '.join(OUTPUTS)}"


def _tensors_of(model: Any) -> Iterator[Any]:
    yield from _tensors_in(model.graph)
    for function in model.functions:
        yield from _tensors_at(function.node)


def _tensors_in(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    yield from _parts(graph.sparse_initializer)
    yield from _tensors_at(graph.node)


def _tensors_at(nodes: Iterable[Any]) -> Iterator[Any]:
    for node in nodes:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            yield from _parts([attribute.sparse_tensor, *attribute.sparse_tensors])
            for graph in (attribute.g, *attribute.graphs):
                yield from _tensors_in(graph)


def _parts(sparse: Iterable[Any]) -> Iterator[Any]:
    for tensor in sparse:
        yield from (tensor.values, tensor.indices)
