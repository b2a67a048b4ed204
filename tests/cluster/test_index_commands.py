"""Collections of the running service from an operator's command line."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pyarrow.parquet

from tests.cluster.forked_commands import ForkedCommands
from tests.cluster.service import RunningService

TEXTS = ["how to bake bread", "how to cool the wing of an aircraft", "who wrote the first novel"]


def test_a_collection_is_filled_searched_backed_up_and_restored(
    service: RunningService, commands: ForkedCommands, tmp_path: Path
) -> None:
    points = tmp_path / "points.jsonl"
    lines = [{"id": text[-5:], "text": text, "metadata": {"n": n}} for n, text in enumerate(TEXTS)]
    more = [{"id": str(number), "text": f"the number {number}"} for number in range(600)]
    points.write_text("\n".join(map(json.dumps, [*lines, *more])))

    commands.run("index", "create", "typed", "--metric", "cosine", "--model", "all-MiniLM-L6-v2")
    added = commands.run("index", "add", "typed", str(points))
    found = commands.run("index", "search", "typed", "heat in wings of aeroplanes", "--json")
    words = commands.run("index", "search", "typed", "Aircraft number 7", "--hybrid", "--json")
    query = {"text": "wing", "rerank": {"model": "all-MiniLM-L6-v2"}}
    unread = httpx.post(f"{service.url}/v1/collections/typed/search", json=query)
    read = commands.run("index", "search", "typed", "wing", "--hybrid", "--rerank", "--json")
    commands.run("index", "backup", "typed", str(tmp_path / "backup"))
    restored = commands.run("index", "restore", str(tmp_path / "backup"), "typed-again")
    exported = tmp_path / "typed.parquet"
    commands.run("index", "export", "typed-again", str(exported))
    listed = {one["name"]: one for one in json.loads(commands.run("index", "list", "--json"))}
    for name in ("typed", "typed-again"):
        commands.run("index", "delete", name, "--yes")

    assert added == "603 points are in typed\n"
    assert json.loads(found.splitlines()[0])["text"] == TEXTS[1]
    first = json.loads(words.splitlines()[0])
    assert (first["id"], first["scores"]["lexical"]["rank"]) == ("7", 1)
    assert (unread.status_code, unread.json()["error"]["param"]) == (400, "rerank.model")
    ordered = [json.loads(line) for line in read.splitlines()]
    assert [hit["scores"]["rerank"]["rank"] for hit in ordered] == [*range(1, 11)]
    assert [hit["score"] for hit in ordered] == sorted(hit["score"] for hit in ordered)[::-1]
    assert restored == "typed-again exists, with 603 points\n"
    assert listed["typed-again"]["count"] == listed["typed"]["count"] == 603
    assert pyarrow.parquet.read_table(exported).num_rows == 603
    gone = httpx.get(f"{service.url}/v1/collections/typed")
    assert gone.status_code == httpx.codes.NOT_FOUND


def test_a_collection_of_given_vectors_gets_those_of_a_model(
    commands: ForkedCommands, tmp_path: Path
) -> None:
    points = tmp_path / "points.jsonl"
    lines = [{"id": text[-5:], "text": text, "vector": [1, 2, 3]} for text in TEXTS]
    points.write_text("\n".join(map(json.dumps, lines)))

    commands.run("index", "add", "given", str(points))
    said = commands.run("index", "reembed", "given", "--model", "all-MiniLM-L6-v2")
    found = commands.run("index", "search", "given", "heat in wings of aeroplanes", "--json")
    commands.run("index", "delete", "given", "--yes")

    assert said.startswith("given has 3 points, of model 'all-MiniLM-L6-v2'")
    assert json.loads(found.splitlines()[0])["text"] == TEXTS[1]
