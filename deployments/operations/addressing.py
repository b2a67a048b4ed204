"""The address of the Ray that a command connects to: the chosen one, or the only one here.

Where several run, the operator must choose: a command may delete another service's data.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from deployments.launch.services import choose, ray_addresses
from embedder.core.errors import ConfigurationError

ADDRESS_VARIABLE = "RAY_ADDRESS"
"""Ray's own variable: a host and a port, which may be those of another machine."""


def ray_address(
    environment: Mapping[str, str], port: int | None = None, directory: Path | None = None
) -> str:
    """Return the address of Ray for a service by its port or data, or for the only service.

    Raises:
        ConfigurationError: there is none, or it is one of several; the message lists them.
    """
    here = ray_addresses()
    if port is not None or directory is not None:
        service = choose(port, directory)
        for address, owner in here.items():
            if owner == service:
                return address
        raise ConfigurationError(f"Ray does not run for this service: {service}")
    stated = environment.get(ADDRESS_VARIABLE)
    if stated not in (None, "", "auto"):
        return str(stated)
    if len(here) == 1:
        return next(iter(here))
    if not here:
        raise ConfigurationError(
            "no service runs on this machine; start it with 'embedder serve', as the same user, or "
            f"say in {ADDRESS_VARIABLE} where one runs"
        )
    listed = [f"{address}: {owner or 'not of embedder serve'}" for address, owner in here.items()]
    problem = f"several run here; choose one by --port, --data-directory or {ADDRESS_VARIABLE}:"
    raise ConfigurationError("\n  ".join([problem, *sorted(listed)]))
