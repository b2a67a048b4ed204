"""Who can reach the service: rules about its address and keys on a cluster of several machines."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping

from deployments.launch.tls.certificate import CERTIFICATE_VARIABLE, KEY_VARIABLE
from embedder.core.errors import ConfigurationError


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a host: ``localhost``, or an address of loopback."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listening_addresses(host: str) -> list[str]:
    """Return the addresses of this machine that a host stands for, IPv4 first.

    ``localhost`` may stand for ``127.0.0.1``, ``::1`` or both. In a container, the hosts file often
    names ``::1`` although IPv6 is off: of several addresses, those that no socket can have are left
    out.

    Raises:
        ConfigurationError: the host is a name without an address.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(
            f"http_options.host is {host!r}, which has no address: {error}"
        ) from None
    by_family = sorted(found, key=lambda entry: entry[0] != socket.AF_INET)
    families = {str(entry[4][0]): int(entry[0]) for entry in by_family}
    if len(families) == 1:
        return list(families)
    existing = [address for address, family in families.items() if _exists(family, address)]
    return existing or list(families)


def with_port(host: str, port: int | str) -> str:
    """Return a host and a port as a URL has them: an address of IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_machines(
    cpus: Mapping[str, float],
    *,
    host: str | None,
    has_keys: bool,
    haproxy: bool,
    tls: bool = False,
) -> None:
    """Check that all machines of the cluster can reach the service, and other callers need a key.

    ``cpus`` has the logical CPUs of each machine by its address; a cluster without any waits for
    machines to join. ``host`` is ``http_options.host``, None while Serve does not run. ``haproxy``
    tells whether HAProxy sends requests to replicas on other machines, ``tls`` whether the replicas
    themselves have a certificate.

    Raises:
        ConfigurationError: the service listens on a network without keys, or on loopback although
            HAProxy must reach it from other machines; or HAProxy would send requests without TLS to
            replicas that want it.
    """
    if haproxy and tls:
        raise ConfigurationError(
            "http_options.ssl_certfile is set, but HAProxy answers clients here: leave it out, and "
            f"name the files by {CERTIFICATE_VARIABLE} and {KEY_VARIABLE} where 'ray start' runs "
            "(docs/access.md); Serve reads its options when it starts: run 'serve shutdown' first"
        )
    several = len(cpus) > 1 or not any(cpus.values())
    listens_beyond = host is not None and not is_loopback(host)
    if not has_keys and (several or listens_beyond):
        where = "listens on its network" if listens_beyond else "spans several machines"
        raise ConfigurationError(
            f"the service has no keys, but {where} ({', '.join(sorted(cpus))}), where any program "
            "could call it: make a key with 'embedder key NAME', and add it to args: under keys:"
        )
    if several and haproxy and host is not None and is_loopback(host):
        raise ConfigurationError(
            f"http_options.host is {host}, but HAProxy must reach replicas on several machines "
            f"({', '.join(sorted(cpus))}): set it to 0.0.0.0, as in serve_cluster.yaml; Serve "
            "reads it when it starts, so run 'serve shutdown' first"
        )


def _exists(family: int, address: str) -> bool:
    try:
        with socket.socket(family) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True
