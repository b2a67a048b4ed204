"""The cost of a running service is measured from outside, as `embedder plan --measure` does."""

from __future__ import annotations

from deployments.operations.service_cost import running_cost
from tests.cluster.service import RunningService


def test_every_stage_of_a_running_service_has_a_cost(service: RunningService) -> None:
    cost = running_cost(service.url, service.processes, 1.0, alone_requests=20)

    assert 10 < cost.text_tokens < 30
    assert 0 <= cost.haproxy_s < cost.ingress_s
    assert cost.alone_p99_s > 0
    # The caches and the index belong to the node.
    assert min(cost.ingress_bytes, cost.tokenizer_bytes) > 20 * 2**20
    assert cost.node_bytes > cost.ingress_bytes
