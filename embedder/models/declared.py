"""What a model can do by its files, before it is loaded."""

from __future__ import annotations

from embedder.core.errors import ConfigurationError
from embedder.core.outputs import OutputKind, Tasks, tasks_of
from embedder.models.catalogue import find_row
from embedder.models.layout import read_layout
from embedder.models.weights import locate
from embedder.settings.model import ModelSettings


def declared_tasks(settings: ModelSettings) -> Tasks | None:
    """Return the tasks of a model by its files on this machine; its weights are not read.

    None: no source on this machine has the model, or its files cannot be read or are not supported.
    For a model that is in no directory this imports the library of the hub.
    """
    row = find_row(settings.name)
    try:
        source = locate(settings.model_copy(update={"offline": True}))
        fallback = row.pooling if row else None
        layout = read_layout(
            source.directory, pooling=settings.pooling, fallback=fallback, outputs=settings.outputs
        )
    except (ConfigurationError, OSError):
        # Models of the catalogue that are still to be downloaded compute vectors.
        return None if row is None else tasks_of((OutputKind.DENSE,), ())
    return tasks_of(layout.outputs, layout.classifier.labels if layout.classifier else ())
