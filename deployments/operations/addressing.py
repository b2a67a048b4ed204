"""The address of the Ray that a command connects to: the chosen one, or the only one here.

If several run, the operator must choose, because a command may delete another service's data.
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
        ConfigurationError: no Ray runs, or several run; the message lists them.
    """
    addresses = ray_addresses()
    if port is not None or directory is not None:
        service = choose(port, directory)
        for address, owner in addresses.items():
            if owner == service:
                return address
        raise ConfigurationError(f"Ray does not run for this service: {service}")
    stated = environment.get(ADDRESS_VARIABLE)
    if stated not in (None, "", "auto"):
        return str(stated)
    if len(addresses) == 1:
        return next(iter(addresses))
    if not addresses:
        raise ConfigurationError(
            "no service of this user runs on this machine; start it with 'embedder serve', or set "
            f"{ADDRESS_VARIABLE} to the address of a running one"
        )
    listed = [
        f"{address}: {owner or 'not of embedder serve'}" for address, owner in addresses.items()
    ]
    problem = f"several run here; choose one by --port, --data-directory or {ADDRESS_VARIABLE}:"
    raise ConfigurationError("\n  ".join([problem, *sorted(listed)]))
