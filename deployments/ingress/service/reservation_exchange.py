"""Sends the reservations of this ingress to the others, since a refused request may return there.

Nothing is sent while no request is refused. A message that is lost or late costs a returning
request its reservation at that ingress: it is then treated as a new request.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from deployments.rpc.handle_client import Handle, HandleClient
from deployments.rpc.running_replicas import running_replicas
from embedder.core.deadline import Deadline
from embedder.core.errors import EmbedderError
from embedder.pipeline.admission_control import AdmissionControl
from embedder.pipeline.reservations import ReservationChanges, next_message_s

ANSWER_S = 1.0
"""Seconds that an ingress may take to receive a message."""

logger = logging.getLogger("ray.serve")


class ReservationExchange:
    """Connects the ``admission`` of this ``replica`` with that of all replicas of ``ingress``."""

    def __init__(self, admission: AdmissionControl, ingress: Handle, replica: str) -> None:
        self._admission = admission
        self._handle = ingress
        self._client = HandleClient("Ingress", ingress)
        self._replica = replica
        self._ingresses = 1
        self._sender: asyncio.Task[None] | None = None
        self._messages: set[asyncio.Task[object]] = set()

    def run_maintenance(self) -> None:
        """Count the ingresses: Serve keeps their number in a handle that has been used once."""
        known = running_replicas(self._handle)
        if known is None:
            self._start(self._fetch())
        self._ingresses = max(1, known or 1)
        self._admission.share(self._ingresses, self._changed)

    def receive(self, replica: str, changes: ReservationChanges) -> None:
        """Apply the changes that an ingress has sent to all; its own come back to it too."""
        if replica != self._replica:
            self._admission.receive(changes)

    def _changed(self) -> None:
        if self._sender is None:
            self._sender = asyncio.ensure_future(self._send_changes())

    async def _send_changes(self) -> None:
        """Send messages as long as there are changes, more and more slowly."""
        pause_s = next_message_s(self._ingresses)
        await asyncio.sleep(pause_s)
        while changes := self._admission.take_changes():
            self._send(changes)
            pause_s = next_message_s(self._ingresses, pause_s)
            await asyncio.sleep(pause_s)
        self._sender = None

    def _send(self, changes: ReservationChanges) -> None:
        """Send a message, and do not wait for the slowest ingress."""
        self._start(self._broadcast("receive_reservations", self._replica, changes))

    async def _fetch(self) -> None:
        """Get the reservations that were made before this ingress started."""
        queues = [
            answer
            for answer in await self._broadcast("reservations")
            if isinstance(answer, ReservationChanges)
        ]
        if queues:
            self._admission.receive(max(queues, key=lambda queue: len(queue.added)))

    async def _broadcast(self, method: str, *args: object) -> list[Any]:
        try:
            return await self._client.broadcast(method, *args, deadline=Deadline.after(ANSWER_S))
        except EmbedderError as error:
            logger.debug("ingresses do not answer %s: %r", method, error)
            return []

    def _start(self, message: Coroutine[Any, Any, object]) -> None:
        task = asyncio.ensure_future(message)
        self._messages.add(task)
        task.add_done_callback(self._messages.discard)
