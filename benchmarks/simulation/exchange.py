"""The messages by which ingresses learn of each other's refusals, as the product sends them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from benchmarks.simulation.events import Events
from benchmarks.simulation.ingress import Ingress
from embedder.pipeline.reservations import next_message_s


class ReservationExchange:
    """Sends the changes of each ingress to all others, more and more slowly, while there are any.

    ``messages`` counts those that were received.
    """

    def __init__(self, events: Events, ingresses: Callable[[], Sequence[Ingress]]) -> None:
        self.messages = 0
        self._events = events
        self._ingresses = ingresses
        self._sending: set[Ingress] = set()

    def share(self) -> None:
        """Set the number of ingresses at each of them."""
        ingresses = self._ingresses()
        for ingress in ingresses:
            ingress.admission.share(len(ingresses), partial(self._changed, ingress))

    def _changed(self, ingress: Ingress) -> None:
        if ingress not in self._sending:
            self._sending.add(ingress)
            self._after(next_message_s(len(self._ingresses())), ingress)

    def _send(self, sending: tuple[Ingress, float]) -> None:
        ingress, pause_s = sending
        changes = ingress.admission.take_changes()
        if not changes:
            self._sending.remove(ingress)
            return
        for other in self._ingresses():
            if other is not ingress:
                self.messages += 1
                other.receive_changes(changes)
        self._after(next_message_s(len(self._ingresses()), pause_s), ingress)

    def _after(self, pause_s: float, ingress: Ingress) -> None:
        self._events.at(self._events.now + pause_s, self._send, (ingress, pause_s))
