"""The choice of the Ray that a command connects to, with simulated processes of Ray."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.launch.services import ServiceInstance
from deployments.operations import addressing
from deployments.operations.addressing import ray_address
from embedder.core.errors import ConfigurationError

FIRST = ServiceInstance(8000, "/data/first", 1, 1, "/tmp/embedder-1", 20_000)
SECOND = ServiceInstance(9000, "/data/second", 2, 2, "/tmp/embedder-2", 20_200)


@pytest.fixture
def rays(monkeypatch: pytest.MonkeyPatch) -> dict[str, ServiceInstance | None]:
    """Return the running services, which a test fills in."""
    found: dict[str, ServiceInstance | None] = {}

    def choose(port: int | None, directory: Path | None) -> ServiceInstance:
        (one,) = [
            service
            for service in (FIRST, SECOND)
            if service.port == port or service.data_directory == str(directory)
        ]
        return one

    monkeypatch.setattr(addressing, "ray_addresses", lambda: found)
    monkeypatch.setattr(addressing, "choose", choose)
    return found


def test_the_only_ray_is_chosen_regardless_of_its_starter(
    rays: dict[str, ServiceInstance | None],
) -> None:
    rays["10.0.0.1:1"] = None

    assert ray_address({}) == "10.0.0.1:1"
    assert ray_address({"RAY_ADDRESS": "auto"}) == "10.0.0.1:1"


def test_several_rays_are_an_error_that_lists_them(
    rays: dict[str, ServiceInstance | None],
) -> None:
    rays |= {"10.0.0.1:1": FIRST, "10.0.0.1:2": SECOND, "10.0.0.1:3": None}

    with pytest.raises(ConfigurationError) as caught:
        ray_address({})
    lines = str(caught.value).splitlines()
    assert "--port, --data-directory or RAY_ADDRESS" in lines[0]
    assert ["10.0.0.1:1: port 8000, data in /data/first" in lines[1], len(lines)] == [True, 4]


def test_an_explicit_choice_is_used(rays: dict[str, ServiceInstance | None]) -> None:
    rays |= {"10.0.0.1:1": FIRST, "10.0.0.1:2": SECOND}
    elsewhere = {"RAY_ADDRESS": "10.9.9.9:6379"}

    assert ray_address({}, port=9000) == "10.0.0.1:2"
    assert ray_address({}, directory=Path("/data/first")) == "10.0.0.1:1"
    assert ray_address(elsewhere) == "10.9.9.9:6379"
    assert ray_address(elsewhere, port=8000) == "10.0.0.1:1", "the nearer word goes first"


def test_a_service_without_a_ray_and_a_machine_without_a_service_are_refused(
    rays: dict[str, ServiceInstance | None],
) -> None:
    with pytest.raises(ConfigurationError, match="embedder serve"):
        ray_address({})
    with pytest.raises(ConfigurationError, match="Ray does not run for this service: port 8000"):
        ray_address({}, port=8000)
