"""The choice of the service that a command means, among simulated ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.launch.services.choice import Candidate, choose
from deployments.launch.services.instances import ServiceInstance
from embedder.core.errors import ConfigurationError

SERVICE = ServiceInstance(8000, "/data/first", 1, 1, "/tmp/embedder-1", 20_000)
FIRST = Candidate("10.0.0.1:1", SERVICE, "http://127.0.0.1:8000", "/first", "data in /data/first")
SECOND = Candidate("10.0.0.1:2", SERVICE, "http://[::1]:9000/api", "/second", "data in /data/two")
FOREIGN = Candidate("10.0.0.1:3")
ALL = [FIRST, SECOND, FOREIGN]


@pytest.mark.parametrize("only", ALL, ids=["ours", "ipv6", "foreign"])
@pytest.mark.parametrize("environment", [{}, {"RAY_ADDRESS": ""}, {"RAY_ADDRESS": "auto"}])
def test_the_only_one_is_chosen(only: Candidate, environment: dict[str, str]) -> None:
    assert choose([only], environment) == only


def test_several_are_an_error_that_lists_them_with_the_option_for_each() -> None:
    with pytest.raises(ConfigurationError) as caught:
        choose(ALL, {})

    assert str(caught.value).splitlines() == [
        "several services run here; repeat the command with one of these:",
        "  --address http://127.0.0.1:8000  (data in /data/first)",
        "  --address http://[::1]:9000/api  (data in /data/two)",
        "  --address 10.0.0.1:3  (Ray that 'embedder serve' did not start)",
    ]


@pytest.mark.parametrize(
    ("address", "chosen"),
    [
        ("http://127.0.0.1:8000", FIRST),
        ("http://127.0.0.1:8000/v1/models", FIRST),
        ("HTTP://LOCALHOST:8000", FIRST),
        ("127.0.0.1:8000", FIRST),
        ("localhost:8000", FIRST),
        ("8000", FIRST),
        ("10.0.0.1:1", FIRST),
        ("http://[::1]:9000", SECOND),
        ("[::1]:9000", SECOND),
        ("localhost:9000", SECOND),
        ("10.0.0.1:2", SECOND),
        ("10.0.0.1:3", FOREIGN),
    ],
)
def test_an_address_chooses_as_an_operator_may_write_it(address: str, chosen: Candidate) -> None:
    assert choose(ALL, {"RAY_ADDRESS": "10.9.9.9:6379"}, address) == chosen


@pytest.mark.parametrize("address", ["http://127.0.0.1:8001", "[::1]:8000", "127.0.0.1:9000", "1"])
def test_an_address_of_no_service_is_refused_with_those_of_all(address: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        choose(ALL, {}, address)

    assert f"no service with the address {address} runs here" in str(caught.value)
    assert "--address http://127.0.0.1:8000 " in str(caught.value)


@pytest.mark.parametrize("address", ["", "localhost", "http://[::1]", "::1:9000", "a:b", "h:65536"])
def test_an_address_without_a_port_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError, match="embedder status"):
        choose(ALL, {}, address)


@pytest.mark.parametrize(
    ("listening", "given", "same"),
    [
        ("0.0.0.0", "127.0.0.1", True),
        ("[::]", "[::1]", True),
        ("localhost", "127.0.0.1", True),
        ("localhost", "[::1]", True),
        ("127.0.0.1", "[::1]", False),
        ("0.0.0.0", "10.0.0.9", False),
        ("10.0.0.1", "localhost", False),
    ],
)
def test_a_host_of_this_machine_has_several_names(listening: str, given: str, same: bool) -> None:
    """Another machine's address never chooses a service here, also if this listens on all."""
    service = Candidate(None, url=f"http://{listening}:8000")
    if same:
        assert choose([service], {}, f"{given}:8000") == service
    else:
        with pytest.raises(ConfigurationError, match="no service with"):
            choose([service], {}, f"{given}:8000")


def test_a_folder_chooses_the_service_that_was_started_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "checkout").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "checkout")
    here = Candidate("10.0.0.1:4", SERVICE, "http://127.0.0.1:1", str(tmp_path / "checkout"))
    monkeypatch.chdir(tmp_path / "checkout")

    for folder in (".", str(tmp_path / "link")):
        assert choose([FIRST, here], {"RAY_ADDRESS": "10.0.0.1:1"}, started_in=folder) == here
    with pytest.raises(ConfigurationError, match="no service that was started in /nowhere runs"):
        choose([FIRST], {}, started_in="/nowhere")
    with pytest.raises(ConfigurationError, match="with the address 8000 that was started in"):
        choose([FIRST, here], {}, "8000", ".")


def test_two_services_of_a_folder_are_told_apart_by_an_address() -> None:
    twin = Candidate("10.0.0.1:5", SERVICE, "http://127.0.0.1:8001", "/first")

    with pytest.raises(ConfigurationError, match="several services that were started in /first"):
        choose([FIRST, twin], {}, started_in="/first")
    assert choose([FIRST, twin], {}, "8001", "/first") == twin


def test_rays_variable_chooses_here_and_elsewhere() -> None:
    assert choose(ALL, {"RAY_ADDRESS": "10.0.0.1:2"}) == SECOND
    assert choose(ALL, {"RAY_ADDRESS": "10.9.9.9:6379"}).ray_address == "10.9.9.9:6379"
    assert choose([], {"RAY_ADDRESS": "10.9.9.9:6379"}).service is None


def test_a_machine_without_a_service_is_refused_with_the_command_that_starts_one() -> None:
    for address in (None, "8000"):
        with pytest.raises(ConfigurationError, match="embedder serve"):
            choose([], {}, address)
