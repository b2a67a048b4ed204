"""Whether every stage answers a real question at this moment.

Not through the connection of a model: while one stage is gone there may be none to ask the other
by. Knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from deployments.ingress.handles import Handles
from deployments.remote import Remote
from embedder.config import ModelSettings
from embedder.errors import ConfigurationError, EmbedderError
from embedder.types import Priority, TokenBatch, Truncate

READY_TIMEOUT_S = 5.0
"""How long one stage may take to answer a readiness probe."""


async def readiness(handles: Handles, model: ModelSettings) -> dict[str, str]:
    """Return each stage's name with ``ready`` or its problem; ``model`` is what must answer."""
    questions: Mapping[str, tuple[Any, ...]] = {
        "Tokenizer": ("tokenize", model, ["ready"], Truncate.END),
        "Encoder": (
            *("encode", model, TokenBatch.of([[0]])),
            *(Priority.INTERACTIVE, READY_TIMEOUT_S),
        ),
        "EmbeddingCache-0": ("stats",),
        "VectorIndex-0": ("collections",),
    }
    stages = handles.by_name()
    answers = await asyncio.gather(
        *(_ask(Remote(name, stages[name]), *question) for name, question in questions.items())
    )
    return dict(zip(questions, answers, strict=True))


async def _ask(stage: Remote, method: str, *arguments: Any) -> str:
    deadline = time.monotonic() + READY_TIMEOUT_S
    call = stage.call(method, *arguments, deadline=deadline)
    try:
        await asyncio.wait_for(call, READY_TIMEOUT_S)
    except asyncio.TimeoutError:
        return f"no answer within {READY_TIMEOUT_S:.0f} s"
    except ConfigurationError:  # its sentence is the operator's, and may hold paths
        return "the model cannot be loaded; the log says why"
    except EmbedderError as error:
        return str(error)
    return "ready"
