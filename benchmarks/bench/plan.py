"""What is measured, by name: the measurements in process, and the loads over HTTP."""

from __future__ import annotations

from dataclasses import dataclass

SENTENCES = "in process, sentences"
MIXED = "in process, mixed"
CACHED = "HTTP, cached texts, c=32"
NOOP = "HTTP, no-op, c=32"
LIKE_CACHED = "HTTP, no-op like cached, c=32"
"""A no-op of the same route, body and size of the response as a cached text."""
CACHED_CLIENTS = 32
CACHED_TEXTS = 256


@dataclass(frozen=True, slots=True)
class Closed:
    """A closed loop of ``clients`` with ``size`` distinct texts a request."""

    clients: int
    size: int

    @property
    def name(self) -> str:
        """Return the name of the measurement."""
        texts = "1 text" if self.size == 1 else f"{self.size} texts"
        return f"HTTP, {texts}, c={self.clients}"


SINGLE = tuple(Closed(clients, 1) for clients in (1, 8, 32, 128))
BULK = Closed(4, 32)
CLOSED = (*SINGLE, BULK)

LOADS = (0.5, 0.8, 1.2)
"""Arrivals of the open loop, in parts of the best rate of the server's own closed loops."""


def open_name(load: float) -> str:
    """Return the name of an open loop."""
    return f"HTTP, open loop, {load:g} of capacity"
