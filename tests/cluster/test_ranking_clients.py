"""The programs of docs/clients.md that ask for scores: they print what a plain request gets."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from tests.cluster.client_programs import (
    ADDRESS,
    CLASSES,
    PROGRAMS,
    SCORING,
    chosen,
    needs_clients,
    printed_by,
)
from tests.cluster.service import RunningService

QUERY = "what is a cat"
DOCUMENTS = ["a city by a river", "a small animal", "a fruit"]
IN_ONE_PROCESS = """
import contextlib, io, json, sys

printed = {}
for heading, program in json.load(open(sys.argv[1])).items():
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(compile(program, heading, "exec"), {"__name__": heading})
    printed[heading] = output.getvalue()
print(json.dumps(printed))
"""
"""Runs several programs, most of whose time are imports that they share."""


CLIENT_V2, CLIENT = "cohere, rerank", "cohere.Client, rerank"
RUN = {name: PROGRAMS[name] for name in chosen(SCORING)}
RUN[CLIENT] = PROGRAMS[CLIENT_V2].replace("ClientV2", "Client")
RANKING = [name for name in RUN if name != CLASSES]


@pytest.fixture(scope="module")
def scored(
    service: RunningService, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, list[tuple[Any, float]]]:
    """Return what each program that asks for scores prints."""
    folder = tmp_path_factory.mktemp("scoring")
    programs = {name: program.replace(ADDRESS, service.url) for name, program in RUN.items()}
    (folder / "programs.json").write_text(json.dumps(programs))
    printed = printed_by(IN_ONE_PROCESS, folder, str(folder / "programs.json"))
    return {name: ast.literal_eval(text) for name, text in json.loads(printed).items()}


@needs_clients
@pytest.mark.parametrize("heading", RANKING)
def test_a_client_gets_a_ranking(
    service: RunningService, scored: Mapping[str, list[tuple[int, float]]], heading: str
) -> None:
    body = {"query": QUERY, "texts": DOCUMENTS}
    first, second, _ = httpx.post(f"{service.url}/rerank", json=body).json()

    assert [index for index, _ in scored[heading]] == [first["index"], second["index"]]
    assert [score for _, score in scored[heading]] == pytest.approx(
        [first["score"], second["score"]], abs=1e-3
    )


@needs_clients
def test_a_client_gets_classes(
    service: RunningService, scored: Mapping[str, list[tuple[str, float]]]
) -> None:
    (plain,) = httpx.post(f"{service.url}/predict", json={"inputs": DOCUMENTS[1]}).json()

    ((label, score),) = scored[CLASSES]

    assert label == plain["label"] == "relevance"
    assert score == pytest.approx(plain["score"], abs=1e-3)
