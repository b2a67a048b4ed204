"""The ONNX graph that a model brings: its path, its files, and whether it can be used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from embedder.core.errors import UnsafeModel
from embedder.models.files import ModelFiles

BUNDLED_GRAPH = "onnx/model.onnx"
"""The path in the transformer's folder."""

OUTPUTS = ("last_hidden_state", "token_embeddings")

_REQUIRED = {"input_ids", "attention_mask"}
_TYPES = {"tensor(int32)", "tensor(int64)"}


def bundled_graph(files: ModelFiles) -> Path | None:
    """Return the path of the graph that a model brings, if any."""
    path = files.layout.transformer / BUNDLED_GRAPH
    return path if path.is_file() else None


def graph_files(graph: Path) -> list[Path]:
    """Return the file of a graph and the files with its weights.

    Raises:
        UnsafeModel: the graph refers to a file outside its folder.
        ValueError: the graph cannot be read.
    """
    # Imported here: `bundled_graph` must work without the package.
    import onnx

    try:
        model = onnx.load(graph, load_external_data=False)
    except Exception as error:  # the errors of onnx have no common class
        raise ValueError(f"it cannot be read: {error}") from error
    locations = {
        entry.value
        for tensor in _tensors(model)
        for entry in tensor.external_data
        if entry.key == "location"
    }
    for location in sorted(locations):
        path = PurePosixPath(location.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in location:
            raise UnsafeModel(f"{graph} refers to weights in {location!r}, outside its folder")
    return [graph, *(graph.parent / location for location in sorted(locations))]


def unusable_reason(inputs: Iterable[Any], outputs: Iterable[Any]) -> str | None:
    """Return why a graph with a session's inputs and outputs cannot be used; None if it can."""
    by_name = {entry.name: entry for entry in inputs}
    if not _REQUIRED <= by_name.keys() <= _REQUIRED | {"token_type_ids"}:
        return f"its inputs are {', '.join(by_name)}"
    for name, entry in by_name.items():
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


def _tensors(message: Any) -> Iterator[Any]:
    """Yield every tensor in a message of ONNX, at any depth."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for inner in [value] if hasattr(value, "ListFields") else value:
            if field.message_type.name == "TensorProto":
                yield inner
            else:
                yield from _tensors(inner)
