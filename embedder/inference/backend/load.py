"""Choose and load the backend of a model: the configured one, or the first that supports it.

A backend is imported when it is chosen, so that an unused one costs neither time nor memory.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence

from embedder.backends.protocol import Backend
from embedder.core.errors import MissingExtra, UnsupportedModel
from embedder.models.files import ModelFiles
from embedder.settings.model import BackendSettings

logger = logging.getLogger(__name__)

_ONNX = ("onnxruntime", "onnx")
_OPENVINO = ("openvino",)
"""The packages that each backend needs."""


def load_backend(files: ModelFiles, settings: BackendSettings) -> Backend:
    """Load a model; the backend's notes explain the choice.

    A backend that the settings name is never replaced by another one.

    Raises:
        ConfigurationError: the device or a library is missing, or no backend supports the model.
    """
    if settings.name == "onnx":
        return _load_onnx(files, settings, "backend.name 'onnx'")
    if settings.name == "openvino":
        return _load_openvino(files, settings)
    if settings.name == "auto" and settings.dtype == "int8":
        backend = _load_onnx(files, settings, "backend.dtype 'int8'")
        return _with_note(backend, "onnx: torch does not compute int8 here")
    try:
        return _load_fastest(files, settings)
    except UnsupportedModel as error:
        if settings.name == "torch" or not _has_usable_graph(files):
            raise
        # Clients can read the notes, so the error, which may contain a path, is only logged.
        logger.info("%s: torch refuses it: %s", files.name, error)
        kind = files.config.get("model_type")
        note = f"onnx: torch does not compute this {kind!r}"
        return _with_note(_load_onnx(files, settings, "backend.name"), note)


def _load_fastest(files: ModelFiles, settings: BackendSettings) -> Backend:
    """Load a model in torch, or in OpenVINO if that computes it faster here."""
    if settings.name == "auto" and _missing_package(_OPENVINO) is None:
        from embedder.inference.backend.selection import candidates, choose

        loaders = {"torch": _load_torch, "openvino": _load_openvino}
        if len(names := candidates(files, settings)) > 1:
            choice = choose(files, settings, {name: loaders[name] for name in names})
            chosen = settings.model_copy(update={"name": choice.backend, "dtype": choice.dtype})
            return _with_note(loaders[choice.backend](files, chosen), choice.note)
    return _load_torch(files, settings)


def _load_torch(files: ModelFiles, settings: BackendSettings) -> Backend:
    from embedder.backends.torch.backend import TorchBackend

    return TorchBackend.load(files, settings)


def _load_onnx(files: ModelFiles, settings: BackendSettings, setting: str) -> Backend:
    if (package := _missing_package(_ONNX)) is not None:
        raise MissingExtra(setting, package, "onnx")
    from embedder.backends.onnx_backend import OnnxBackend

    backend: Backend = OnnxBackend.load(files, settings)
    return backend


def _load_openvino(files: ModelFiles, settings: BackendSettings) -> Backend:
    if (package := _missing_package(_OPENVINO)) is not None:
        raise MissingExtra("backend.name 'openvino'", package, "openvino")
    from embedder.backends.openvino.backend import OpenVinoBackend

    return OpenVinoBackend.load(files, settings)


def _has_usable_graph(files: ModelFiles) -> bool:
    """Return whether a model ships an ONNX graph of vectors and the packages that run it."""
    if files.layout.classifier is not None or _missing_package(_ONNX) is not None:
        return False
    from embedder.backends.onnx_bundled_graph import bundled_graph

    return bundled_graph(files) is not None


def _missing_package(needed: Sequence[str]) -> str | None:
    """Return the first missing package, else None."""
    return next((name for name in needed if importlib.util.find_spec(name) is None), None)


def _with_note(backend: Backend, note: str) -> Backend:
    backend.notes = (note, *backend.notes)
    return backend
