"""The load generator: a process of its own that answers each line of JSON, a load, with figures.

It is the same for every server, and shares neither an interpreter nor an event loop with what it
measures, and goes before it on the processor where the system permits that. Bodies are serialised
before the clock starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from dataclasses import asdict, dataclass
from itertools import cycle, repeat

import orjson

from benchmarks.bench.figures import Figures, figures_of
from benchmarks.bench.loads import Route, closed_loop, open_loop

MODEL = "all-MiniLM-L6-v2"


@dataclass(frozen=True, slots=True)
class Load:
    """Requests of ``size`` texts each for one server; without texts, GET requests.

    With ``due`` it is an open loop, and one request is sent for each moment of it, in seconds;
    otherwise ``clients`` wait for their answers. ``again`` sends the same requests in a circle.
    """

    url: str
    path: str
    texts: list[str]
    size: int = 1
    encoding: str = "base64"
    clients: int = 1
    warm_s: float = 0.0
    seconds: float = 0.0
    again: bool = False
    due: list[float] | None = None


def bodies(load: Load) -> list[bytes]:
    """Return the body of every request."""
    starts = range(0, len(load.texts) - load.size + 1, load.size)
    return [
        orjson.dumps(
            {
                "model": MODEL,
                "input": load.texts[at : at + load.size],
                "encoding_format": load.encoding,
            }
        )
        for at in starts
    ]


async def run(load: Load) -> tuple[Figures, int]:
    """Put a server under a load; return its figures, and the number of requests."""
    route = Route(load.url, load.path)
    made = bodies(load)
    sending = _Counted(made, again=load.again)
    began, cpu = time.perf_counter(), time.process_time()
    if load.due is not None:
        window = await open_loop(route, made[: len(load.due)], load.due)
        sending.sent = len(window.answers)
    else:
        window = await closed_loop(
            route, sending, clients=load.clients, warm_s=load.warm_s, seconds=load.seconds
        )
    share = (time.process_time() - cpu) / (time.perf_counter() - began)
    offered = len(load.due) / load.due[-1] if load.due else None
    figures = figures_of(window, texts_a_request=load.size, client_cpu=share, offered_per_s=offered)
    return figures, sending.sent


class _Counted:
    """Gives bodies, and counts them; None for ever where there are none."""

    def __init__(self, made: list[bytes], *, again: bool) -> None:
        self._bodies = repeat(None) if not made else cycle(made) if again else iter(made)
        self.sent = 0

    def __iter__(self) -> _Counted:
        return self

    def __next__(self) -> bytes | None:
        body = next(self._bodies)
        self.sent += 1
        return body


def main() -> None:
    """Answer each load on stdin, until there is none."""
    _go_first()
    print("{}", flush=True)  # it has started
    for line in sys.stdin.buffer:
        figures, sent = asyncio.run(run(Load(**orjson.loads(line))))
        answer = {"figures": asdict(figures), "sent": sent}
        print(orjson.dumps(answer).decode(), flush=True)


def _go_first() -> None:
    """Get the processor first, so that requests are sent when due, as from another machine.

    Without that permission, the figures have the lateness of requests.
    """
    if sys.platform == "linux":
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


if __name__ == "__main__":
    main()
