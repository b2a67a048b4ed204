"""The steps of sampled stacks."""

from __future__ import annotations

from benchmarks.path import OTHER, step_of, steps_of

SERVER = "run (/venv/uvicorn/server.py:1);handle (/venv/ray/serve/replica.py:2)"


def test_the_innermost_function_with_a_step_decides() -> None:
    middleware = "/src/deployments/ingress/middleware/request.py:3"
    cache = "get_many (/src/embedder/cache/memory.py:4);take (/venv/numpy/core.py:5)"

    assert step_of(SERVER) == "hop"
    assert step_of(f"{SERVER};call ({middleware})") == "middleware"
    assert step_of(f"{SERVER};call ({middleware});{cache}") == "cache"


def test_a_stack_of_unknown_functions_is_other() -> None:
    assert step_of("wait (/usr/lib/threading.py:1)") == OTHER


def test_samples_are_added_by_step() -> None:
    lines = [f"{SERVER} 3", "wait (/usr/lib/threading.py:1) 2", f"{SERVER} 4", ""]

    assert steps_of(lines) == {"hop": 7, OTHER: 2}
