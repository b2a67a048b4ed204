"""An index in files is deployed only where a restarted replica finds them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import pytest

from deployments.launch.pinning import check_pinned
from embedder.core.errors import ConfigurationError


def node(
    address: str, labels: Mapping[str, str] | None = None, **resources: float
) -> dict[str, Any]:
    """Return a node as Ray describes it."""
    return {
        "NodeManagerAddress": address,
        "Resources": {"CPU": 8.0, **resources},
        "Labels": labels or {},
    }


HEAD = node("10.0.0.1", CPU=0.0)
DATA = node("10.0.0.2", {"disk": "ssd"}, data=1.0)
OTHER = node("10.0.0.3")


@pytest.mark.parametrize(
    ("nodes", "resources", "labels", "accepted"),
    [
        ([OTHER], {}, {}, True),
        ([OTHER, node("10.0.0.3")], {}, {}, True),
        ([HEAD], {}, {}, False),
        ([HEAD], {"data": 0.1}, {}, True),
        ([HEAD, OTHER], {}, {}, False),
        ([HEAD, DATA, OTHER], {}, {}, False),
        ([HEAD, DATA, OTHER], {"data": 0.1}, {}, True),
        ([HEAD, OTHER], {"data": 0.1}, {}, True),
        ([HEAD, DATA, node("10.0.0.4", data=1.0)], {"data": 0.1}, {}, False),
        ([HEAD, DATA, node("10.0.0.2", data=1.0)], {"data": 0.1}, {}, True),
        ([HEAD, DATA, OTHER], {}, {"disk": "ssd"}, True),
        ([HEAD, DATA, node("10.0.0.4", {"disk": "ssd"})], {}, {"disk": "ssd"}, False),
        ([HEAD, DATA, node("10.0.0.4", {"disk": "ssd"})], {"data": 1}, {"disk": "ssd"}, True),
        ([HEAD, DATA, OTHER], {}, {"disk": "in(ssd, nvme)"}, False),
    ],
)
def test_no_second_machine_can_run_the_index(
    nodes: list[dict[str, Any]],
    resources: dict[str, float],
    labels: dict[str, str],
    accepted: bool,
) -> None:
    with nullcontext() if accepted else pytest.raises(ConfigurationError):
        check_pinned(nodes, resources, labels)


def test_the_refusal_names_both_remedies_and_the_machines() -> None:
    with pytest.raises(ConfigurationError, match=r"10\.0\.0\.2, 10\.0\.0\.3") as caught:
        check_pinned([DATA, OTHER], {}, {})

    assert "cluster.yaml" in str(caught.value)
    assert "vector_index: resources:" in str(caught.value)
    assert "PostgreSQL (index.url" in str(caught.value)
