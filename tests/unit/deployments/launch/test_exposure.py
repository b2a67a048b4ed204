"""Which clusters a service may be deployed to, by its address and its keys."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.launch import exposure
from deployments.launch.exposure import (
    check_machines,
    is_loopback,
    listening_addresses,
    with_port,
)
from embedder.core.errors import ConfigurationError

ONE = {"10.0.0.1": 8.0}
THREE = {"10.0.0.1": 0.0, "10.0.0.2": 8.0, "10.0.0.3": 8.0}
HEAD = {"10.0.0.1": 0.0}


@pytest.mark.parametrize("cpus", [THREE, HEAD], ids=["three machines", "a head that waits"])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", None])
def test_several_machines_need_keys_at_any_address(
    cpus: dict[str, float], host: str | None
) -> None:
    with pytest.raises(ConfigurationError, match=r"no keys.*10\.0\.0\.1.*embedder key.*args"):
        check_machines(cpus, host=host, has_keys=False, haproxy=True)


def test_one_machine_needs_keys_beyond_loopback() -> None:
    with pytest.raises(ConfigurationError, match=r"no keys.*listens on its network"):
        check_machines(ONE, host="0.0.0.0", has_keys=False, haproxy=True)
    check_machines(ONE, host="127.0.0.1", has_keys=False, haproxy=True)
    check_machines(ONE, host=None, has_keys=False, haproxy=True)


def test_haproxy_cannot_reach_loopback_on_other_machines() -> None:
    with pytest.raises(ConfigurationError, match=r"127\.0\.0\.1.*0\.0\.0\.0, as in serve_cluster"):
        check_machines(THREE, host="127.0.0.1", has_keys=True, haproxy=True)
    check_machines(THREE, host="127.0.0.1", has_keys=True, haproxy=False)
    check_machines(THREE, host="0.0.0.0", has_keys=True, haproxy=True)


@given(
    cpus=st.dictionaries(st.sampled_from(["a", "b", "c"]), st.sampled_from([0.0, 4.0]), min_size=1),
    host=st.sampled_from(["127.0.0.1", "::1", "localhost", "0.0.0.0", "10.0.0.7", None]),
    haproxy=st.booleans(),
)
def test_no_service_without_keys_can_be_called_from_another_machine(
    cpus: dict[str, float], host: str | None, haproxy: bool
) -> None:
    """Where it is accepted, it runs on one machine and listens at most on its loopback."""
    try:
        check_machines(cpus, host=host, has_keys=False, haproxy=haproxy)
    except ConfigurationError:
        return
    assert len(cpus) == 1
    assert host in (None, "127.0.0.1", "::1", "localhost")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "::1"])
def test_a_host_of_loopback_is_reached_by_this_machine_alone(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "10.0.0.7", "fd00::1", "localhost.example"])
def test_any_other_host_may_be_reached_by_others(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("resolved", "existing", "addresses"),
    [
        (["::1", "127.0.0.1"], ["::1", "127.0.0.1"], ["127.0.0.1", "::1"]),
        (["::1", "::1"], ["::1"], ["::1"]),
        (["::1", "127.0.0.1"], ["127.0.0.1"], ["127.0.0.1"]),
        (["::1", "127.0.0.1"], [], ["127.0.0.1", "::1"]),
        (["10.0.0.9"], [], ["10.0.0.9"]),
    ],
)
def test_a_name_stands_for_each_of_its_addresses_that_this_machine_has(
    resolved: list[str],
    existing: list[str],
    addresses: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without any, all are returned: the check of the port then tells what is wrong."""
    families = [socket.AF_INET6 if ":" in one else socket.AF_INET for one in resolved]
    entries = [(family, 0, 0, "", (one, 0)) for family, one in zip(families, resolved, strict=True)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: entries)
    monkeypatch.setattr(exposure, "_exists", lambda _, address: address in existing)

    assert listening_addresses("localhost") == addresses


def test_an_address_exists_if_a_socket_can_have_it() -> None:
    assert exposure._exists(socket.AF_INET, "127.0.0.1")
    assert not exposure._exists(socket.AF_INET, "192.0.2.1")
    assert not exposure._exists(-2, "127.0.0.1")


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "::"])
def test_an_address_stands_for_itself(host: str) -> None:
    assert listening_addresses(host) == [host]


@pytest.mark.parametrize("host", ["", "no such host", "\u2603" * 64])
def test_a_host_without_an_address_is_refused(host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"http_options\.host is .* has no address"):
        listening_addresses(host)


def test_an_address_of_ipv6_has_brackets_before_its_port() -> None:
    assert [with_port(host, 80) for host in ("::1", "10.0.0.1", "h")] == [
        "[::1]:80",
        "10.0.0.1:80",
        "h:80",
    ]


@pytest.mark.parametrize("cpus", [ONE, THREE])
def test_replicas_behind_haproxy_have_no_certificate(cpus: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=r"ssl_certfile.*SERVICE_TLS_CERTIFICATE.*docs"):
        check_machines(cpus, host="0.0.0.0", has_keys=True, haproxy=True, tls=True)
    check_machines(cpus, host="0.0.0.0", has_keys=True, haproxy=False, tls=True)
