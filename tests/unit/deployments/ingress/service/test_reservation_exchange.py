"""The exchange of reservations between ingresses, which handles connect."""

from __future__ import annotations

import asyncio
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest

from deployments.ingress.service.reservation_exchange import ReservationExchange
from deployments.rpc.handle_client import Handle
from embedder.core.errors import Overloaded, StageUnavailable
from embedder.core.types import Priority
from embedder.pipeline.admission_control import AdmissionControl
from embedder.pipeline.reservations import MAX_MESSAGE_S
from tests.unit.manual_clock import ManualClock
from tests.unit.pipeline.measured_admission import LIMITS, RATE, measure

pytestmark = pytest.mark.usefixtures("virtual_time")


class Deployment:
    """All replicas of the ingress, and a handle to them that knows their number once used."""

    def __init__(self, count: int) -> None:
        self.clock = ManualClock(100.0)
        self.fault: Exception | None = None
        self.messages = 0
        self._router = SimpleNamespace()
        self.replicas = [self._start(f"replica {number}") for number in range(count)]

    def _start(self, name: str) -> tuple[AdmissionControl, ReservationExchange]:
        admission = AdmissionControl(LIMITS, clock=self.clock)
        measure(admission, self.clock, RATE)
        return admission, ReservationExchange(admission, cast("Handle", self), name)

    def connect(self) -> None:
        """Let the handle know the number of replicas."""
        router = SimpleNamespace(curr_replicas=dict.fromkeys(range(len(self.replicas))))
        self._router = SimpleNamespace(_asyncio_router=SimpleNamespace(_request_router=router))

    def broadcast(self, method: str, *args: Any) -> Broadcast:
        """Send a message to all replicas."""
        self.connect()
        self.messages += 1
        return Broadcast(self, method, args)

    def answers(self, method: str, args: tuple[Any, ...]) -> list[Any]:
        """Return what the methods of the replicas return."""
        if self.fault is not None:
            raise self.fault
        if method == "reservations":
            return [admission.all_reservations() for admission, _ in self.replicas]
        assert method == "receive_reservations"
        for _, exchange in self.replicas:
            exchange.receive(*args)
        return [None] * len(self.replicas)

    def start(self) -> AdmissionControl:
        """Start a further replica, whose handle has not been used."""
        self._router = SimpleNamespace()
        self.replicas.append(self._start(f"replica {len(self.replicas)}"))
        return self.replicas[-1][0]

    async def run_maintenance(self) -> None:
        """Run the maintenance of all replicas, as Serve does every few seconds."""
        for _, exchange in self.replicas:
            exchange.run_maintenance()
        await asyncio.sleep(0.01)


class Broadcast:
    """A call to all replicas."""

    def __init__(self, deployment: Deployment, method: str, args: tuple[Any, ...]) -> None:
        self._call = partial(deployment.answers, method, args)

    async def results_async(self, *, return_exceptions: bool) -> list[Any]:
        """Return the answers of all replicas."""
        return self._call()


def refuse(admission: AdmissionControl, name: str) -> float:
    """Return when a request may return that comes while much is queued."""
    work = admission.admit([b"much"], 2 * RATE, Priority.BULK)
    work.priority = Priority.INTERACTIVE
    admission._queued = [2 * RATE, 0]
    with pytest.raises(Overloaded) as refused:
        admission.admit([name.encode()], 100, Priority.INTERACTIVE)
    work.end()
    return refused.value.retry_after_s


@pytest.fixture
async def deployment() -> Deployment:
    """Return two replicas that know of each other."""
    deployment = Deployment(2)
    await deployment.run_maintenance()
    await deployment.run_maintenance()
    deployment.messages = 0
    return deployment


async def test_a_refused_request_has_its_reservation_at_the_other_ingress(
    deployment: Deployment,
) -> None:
    (one, _), (other, _) = deployment.replicas
    refuse(one, "a")
    await asyncio.sleep(0.1)
    before = other.stats
    deployment.clock.now += 2.0
    other.admit([b"a"], 100, Priority.INTERACTIVE)
    await asyncio.sleep(0.1)

    assert before.reserved_tokens == 100
    assert other.stats.returned == 1
    assert one.stats.reserved_tokens == other.stats.reserved_tokens == 0


async def test_an_ingress_ignores_its_own_messages(deployment: Deployment) -> None:
    (one, _), _ = deployment.replicas
    refuse(one, "a")
    await asyncio.sleep(0.1)

    assert one.stats.reserved_tokens == 100


async def test_refusals_share_messages(deployment: Deployment) -> None:
    (one, _), (other, _) = deployment.replicas
    for number in range(50):
        refuse(one, str(number))
        await asyncio.sleep(0.01)
    await asyncio.sleep(2 * MAX_MESSAGE_S)

    assert other.stats.reserved_tokens == 50 * 100
    assert 3 <= deployment.messages <= 10


async def test_nothing_is_sent_while_no_request_is_refused(deployment: Deployment) -> None:
    (one, _), _ = deployment.replicas
    one.admit([b"a"], 100, Priority.INTERACTIVE).end()
    await deployment.run_maintenance()
    await asyncio.sleep(10.0)

    assert deployment.messages == 0


async def test_an_ingress_alone_sends_nothing() -> None:
    deployment = Deployment(1)
    deployment.connect()
    await deployment.run_maintenance()
    refuse(deployment.replicas[0][0], "a")
    await asyncio.sleep(1.0)

    assert deployment.messages == 0


async def test_an_ingress_that_starts_gets_the_reservations_that_others_have(
    deployment: Deployment,
) -> None:
    (one, _), (other, _) = deployment.replicas
    started = deployment.start()
    refuse(one, "a")
    await asyncio.sleep(0.1)
    await deployment.run_maintenance()
    await deployment.run_maintenance()
    refuse(one, "b")
    await asyncio.sleep(0.1)

    assert [queue.stats.reserved_tokens for queue in (one, other, started)] == 3 * [200]


async def test_lost_messages_stop_nothing(deployment: Deployment) -> None:
    (one, _), (other, _) = deployment.replicas
    deployment.fault = StageUnavailable("Ingress", "gone")
    refuse(one, "a")
    await asyncio.sleep(1.0)
    deployment.fault = None
    refuse(one, "b")
    await asyncio.sleep(1.0)

    assert other.stats.reserved_tokens == 100
