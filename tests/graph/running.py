"""A graph of deployments in this process, which answers once it has its models."""

from __future__ import annotations

from typing import Any

from ray import serve

from deployments.app import build
from deployments.rpc.handle_client import Handle
from embedder.core.errors import EmbedderError
from tests.unit.waiting import eventually


def run_graph(name: str, args: dict[str, Any]) -> Handle:
    """Return the handle of a graph of these arguments.

    Serve sends a replica no calls before it has its configuration; local testing mode does.
    """
    graph = serve.run(build(args), _local_testing_mode=True, name=name, route_prefix=None)
    assert eventually(lambda: _is_configured(graph))
    return graph


def _is_configured(graph: Handle) -> bool:
    try:
        graph.embed.remote("ready").result()
    except EmbedderError as error:
        return str(error) != "no models yet"
    return True
