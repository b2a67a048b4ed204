"""The batch budget that one process measures and the others of its node use."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Thread

import pytest

from embedder.batching.tuning import Measurement, Tuning
from embedder.inference.stored_tuning import shared_tuning

TUNING = Tuning(1024, (Measurement(512, 0.5), Measurement(1024, 0.75)), "nothing is gained")
LIMITED = Tuning(512, (Measurement(512, 0.5),), "a batch of 1,024 tokens does not fit into memory")
FACTS = ("digest", "torch", 1)


class Process:
    """A process that measures ``tuning``, and can compute batches of up to ``largest`` tokens."""

    def __init__(self, tuning: Tuning = TUNING, largest: int = 8192) -> None:
        self.tuning = tuning
        self.largest = largest
        self.measured = 0
        self.tried: list[int] = []

    def measure(self) -> Tuning:
        self.measured += 1
        return self.tuning

    def works(self, tokens: int) -> bool:
        self.tried.append(tokens)
        return tokens <= self.largest

    def tuned(self, folder: Path, facts: tuple[object, ...] = FACTS) -> Tuning:
        return shared_tuning(folder, facts, self.measure, self.works)


def test_the_first_process_measures_and_the_next_uses_its_tuning(tmp_path: Path) -> None:
    first, second = Process(), Process(LIMITED)

    assert first.tuned(tmp_path) == second.tuned(tmp_path) == TUNING
    assert (first.measured, first.tried) == (1, [])
    assert (second.measured, second.tried) == (0, [1024])


def test_processes_that_start_together_measure_once(tmp_path: Path) -> None:
    processes = [Process() for _ in range(4)]
    threads = [Thread(target=process.tuned, args=(tmp_path,)) for process in processes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(process.measured for process in processes) == 1


def test_other_facts_are_measured_anew(tmp_path: Path) -> None:
    Process().tuned(tmp_path)
    other = Process(Tuning(2048, (), "other"))

    assert other.tuned(tmp_path, (*FACTS, "other")).max_tokens == 2048


def test_a_tuning_that_memory_ended_is_not_stored(tmp_path: Path) -> None:
    assert Process(LIMITED).tuned(tmp_path) == LIMITED
    assert Process().tuned(tmp_path) == TUNING


@pytest.mark.parametrize(("largest", "expected"), [(1024, TUNING), (1023, LIMITED)])
def test_a_process_that_cannot_compute_the_stored_budget_measures(
    tmp_path: Path, largest: int, expected: Tuning
) -> None:
    Process().tuned(tmp_path)

    assert Process(LIMITED, largest).tuned(tmp_path) == expected


def test_a_damaged_file_is_measured_anew(tmp_path: Path) -> None:
    Process().tuned(tmp_path)
    (stored,) = tmp_path.glob("*/tuning.json")
    stored.write_text(json.dumps({"max_tokens": 10**9}))
    process = Process()

    assert process.tuned(tmp_path) == TUNING
    assert process.measured == 1


def test_without_a_writable_folder_a_process_measures_for_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    process = Process()

    assert process.tuned(tmp_path / "file") == TUNING
    assert process.measured == 1
    assert "backend.cache_dir" in caplog.text


def test_a_failing_measurement_is_no_failure_of_the_folder(tmp_path: Path) -> None:
    def fail() -> Tuning:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        shared_tuning(tmp_path, FACTS, fail, lambda tokens: True)

    assert Process().tuned(tmp_path) == TUNING
