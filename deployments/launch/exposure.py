"""Who can reach the service: rules about its address and keys on a cluster of several machines."""

from __future__ import annotations

from collections.abc import Mapping

from embedder.core.errors import ConfigurationError

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def check_machines(
    cpus: Mapping[str, float], *, host: str | None, has_keys: bool, haproxy: bool
) -> None:
    """Check that all machines of the cluster can reach the service, and other callers need a key.

    ``cpus`` has the logical CPUs of each machine by its address; a cluster without any waits for
    machines to join. ``host`` is ``http_options.host``, None while Serve does not run. ``haproxy``
    tells whether HAProxy sends requests to replicas on other machines.

    Raises:
        ConfigurationError: the service listens on a network without keys, or on loopback although
            HAProxy must reach it from other machines.
    """
    several = len(cpus) > 1 or not any(cpus.values())
    listens_beyond = host is not None and host not in LOOPBACK
    if not has_keys and (several or listens_beyond):
        where = "listens on its network" if listens_beyond else "spans several machines"
        raise ConfigurationError(
            f"the service has no keys, but {where} ({', '.join(sorted(cpus))}), where any program "
            "could call it: make a key with 'embedder key NAME', and add it to args: under keys:"
        )
    if several and haproxy and host in LOOPBACK:
        raise ConfigurationError(
            f"http_options.host is {host}, but HAProxy must reach replicas on several machines "
            f"({', '.join(sorted(cpus))}): set it to 0.0.0.0, as in serve_cluster.yaml; Serve "
            "reads it when it starts, so run 'serve shutdown' first"
        )
