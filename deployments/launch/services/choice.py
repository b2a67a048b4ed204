"""The choice of the service that a command means: the stated one, or the only one.

If several run, the operator must choose, because a command may delete another service's data.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from deployments.launch.exposure import is_loopback
from deployments.launch.services.instances import ServiceInstance, ray_addresses, services
from embedder.core.errors import ConfigurationError

ADDRESS_VARIABLE = "RAY_ADDRESS"
"""Ray's own variable: a host and a port, which may be those of another machine."""

ONE_OF_THESE = "repeat the command with one of these:"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A service that a command may mean.

    ``ray_address`` is None while Ray does not run for it. ``service`` is None if `serve run` or
    `ray start` started Ray, or if it runs on another machine. ``url`` has the service's routes,
    ``started_in`` is the working folder of its `embedder serve`; ``text`` tells its origin.
    """

    ray_address: str | None
    service: ServiceInstance | None = None
    url: str | None = None
    started_in: str | None = None
    text: str = "Ray that 'embedder serve' did not start"

    @property
    def option(self) -> str:
        """Return the option that chooses it."""
        return f"--address {self.url or self.ray_address}"


def candidates() -> list[Candidate]:
    """Return every service and every other Ray of this user on this machine."""
    rays = ray_addresses()
    by_service = {service: address for address, service in rays.items()}
    ours = [
        Candidate(
            by_service.get(service),
            service,
            service.description.url,
            service.description.started_in,
            service.origin,
        )
        for service in services()
    ]
    others = sorted(address for address, service in rays.items() if service is None)
    return [*ours, *map(Candidate, others)]


def choose(
    found: Sequence[Candidate],
    environment: Mapping[str, str],
    address: str | None = None,
    started_in: str | None = None,
) -> Candidate:
    """Return the candidate with this address, started in this folder; or that of `RAY_ADDRESS`.

    ``address`` is a URL, a host and a port, or a port of a service, or the address of its Ray. A
    stated choice goes before the variable, which may name a Ray of another machine. Without any
    choice, return the only candidate.

    Raises:
        ConfigurationError: none or several match; the message has the option that chooses each.
    """
    matching, wanted = list(found), ""
    if address is not None:
        matching = [one for one in matching if _has_address(one, address)]
        wanted += f" with the address {address}"
    if started_in is not None:
        folder = os.path.realpath(started_in)
        matching = [one for one in matching if one.started_in == folder]
        wanted += f" that {'were' if len(matching) > 1 else 'was'} started in {folder}"
    if not wanted:
        stated = environment.get(ADDRESS_VARIABLE)
        if stated not in (None, "", "auto"):
            return next((one for one in found if one.ray_address == stated), Candidate(stated))
    if len(matching) == 1:
        return matching[0]
    if not found:
        raise ConfigurationError(
            "no service of this user runs on this machine; start it with 'embedder serve', or set "
            f"{ADDRESS_VARIABLE} to the address of a running one"
        )
    problem = f"several services{wanted} run here" if matching else f"no service{wanted} runs here"
    listed = [f"{one.option}  ({one.text})" for one in matching or found]
    raise ConfigurationError("\n  ".join([f"{problem}; {ONE_OF_THESE}", *listed]))


def _has_address(one: Candidate, address: str) -> bool:
    """Return whether an address, as an operator may write it, is that of a candidate.

    Raises:
        ConfigurationError: the address has no port.
    """
    if address == one.ray_address:
        return True
    if one.url is None:
        return False
    own = urlsplit(one.url)
    if address.isascii() and address.isdecimal():
        return int(address) == own.port
    try:
        given = urlsplit(address if "//" in address else f"//{address}")
        port = given.port
    except ValueError:
        port = None
    if port is None:
        raise ConfigurationError(
            f"--address is {address}: write it as 'embedder status' prints it, like "
            "http://127.0.0.1:8000 or 127.0.0.1:8000"
        )
    return port == own.port and _is_same_host(given.hostname or "", own.hostname or "")


def _is_same_host(given: str, listening: str) -> bool:
    """Return whether a service that listens on one host answers at the other.

    An address of loopback reaches a service that listens on ``localhost`` or on every address.
    """
    if given == listening:
        return True
    names = {"localhost", "0.0.0.0", "::"}  # noqa: S104 - compared, never listened on
    if given == "localhost":
        return listening in names or is_loopback(listening)
    return listening in names and is_loopback(given)
