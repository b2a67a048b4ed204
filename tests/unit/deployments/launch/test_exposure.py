"""Which clusters a service may be deployed to, by its address and its keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.launch.exposure import LOOPBACK, check_machines
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
    host=st.sampled_from([*LOOPBACK, "0.0.0.0", "10.0.0.7", None]),
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
    assert host is None or host in LOOPBACK
