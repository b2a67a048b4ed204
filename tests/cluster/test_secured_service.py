"""A service with TLS and a keys file, on all interfaces: keys and certificate change while it runs.

It has two Ingresses, with HAProxy and without. Takes a minute: ``TEST_SERVICES=1`` runs it.
"""

from __future__ import annotations

import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from deployments.ingress.middleware.keys import digest
from tests.cluster.service import READY_S, ROOT, STOP_S, write_config
from tests.cluster.service_pair import TAKES_MINUTES
from tests.ports import free_port
from tests.private_ca import PrivateCA

EVERY = {"scopes": ["read", "write"]}
TRIES = 20
"""Requests in a row on new connections, so that each Ingress answers some."""

USED_S = 60.0


class Secured:
    """`embedder serve` with TLS, and keys that are their own names: ``all``, ``mine``, ``old``."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._keys = folder / "keys.yaml"
        self.write_keys(all=EVERY, mine={**EVERY, "collections": ["mine-*"]}, old=EVERY)
        self.authority = PrivateCA(folder / "authority")
        certificate = self.authority.issue("served", ["127.0.0.1"])
        self._trusting = ssl.create_default_context(cafile=str(self.authority.certificate))
        ingress = {"min_replicas": 2, "max_replicas": 2}
        config = write_config(folder, keys_file=str(self._keys), ingress=ingress)
        document = yaml.safe_load(config.read_text())
        self.port = free_port()
        document["http_options"] = {
            "host": "0.0.0.0",
            "port": self.port,
            "ssl_certfile": str(certificate.certificate),
            "ssl_keyfile": str(certificate.key),
        }
        config.write_text(yaml.safe_dump(document))
        command = [str(Path(sys.executable).with_name("embedder")), "serve", str(config), *options]
        self.process = subprocess.Popen(
            [*command, "--log", str(folder / "serve.log"), "--timeout", str(READY_S)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )

    def write_keys(self, **keys: dict[str, Any]) -> None:
        """Replace the keys file by one with these keys."""
        entries = [
            {"name": name, "sha256": digest(name.encode()), **fields}
            for name, fields in keys.items()
        ]
        new = self._keys.with_name("new.yaml")
        new.write_text(yaml.safe_dump(entries))
        new.chmod(0o600)
        new.rename(self._keys)

    def status(self, key: str | None, method: str, path: str, body: Any = None) -> int:
        """Return the status of the answer to a request on a new connection."""
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        url = f"https://127.0.0.1:{self.port}{path}"
        with httpx.Client(verify=self._trusting, timeout=60, headers=headers) as client:
            return client.request(method, url, json=body).status_code

    def statuses(self, key: str) -> set[int]:
        """Return the statuses of several answers to a key."""
        return {self.status(key, "GET", "/v1/models") for _ in range(TRIES)}

    def certificate(self) -> bytes | None:
        """Return the certificate that a new connection gets."""
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        with self._trusting.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
            return connection.getpeercert(binary_form=True)

    def stop(self) -> int:
        """Press Ctrl-C, and return the exit status."""
        self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(STOP_S)
        finally:
            assert self.process.stdout is not None
            self.process.stdout.close()


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + USED_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.5)


@pytest.fixture(params=["haproxy", "plain"])
def secured(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Secured]:
    service = Secured(tmp_path, *(["--plain"] if request.param == "plain" else []))
    try:
        assert service.process.stdout is not None
        ready = service.process.stdout.readline()
        assert f"https://0.0.0.0:{service.port}" in ready, (tmp_path / "serve.log").read_text()[
            -4000:
        ]
        yield service
    finally:
        assert service.stop() == 0


@TAKES_MINUTES
def test_keys_and_certificate_change_while_the_service_runs(
    secured: Secured, request: pytest.FixtureRequest
) -> None:
    point = {"points": [{"id": "a", "vector": [1, 0]}]}
    for name in ("mine-1", "theirs"):
        assert secured.status("all", "POST", f"/v1/collections/{name}/points", point) == 200
    assert secured.status(None, "GET", "/v1/models") == 401
    assert secured.status("mine", "GET", "/v1/collections/mine-1") == 200
    assert secured.status("mine", "GET", "/v1/collections/theirs") == 403
    assert secured.statuses("old") == {200}
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{secured.port}/readyz", timeout=30)

    secured.write_keys(all=EVERY, new=EVERY)
    wait_until(lambda: secured.statuses("old") == {401} and secured.statuses("new") == {200})
    assert secured.statuses("mine") == {401}

    before = secured.certificate()
    secured.authority.issue("served", ["127.0.0.1"])
    if "haproxy" in request.node.name:
        with suppress(ssl.SSLError):
            wait_until(lambda: secured.certificate() != before)
        assert secured.statuses("new") == {200}
    assert (secured.certificate() != before) == ("haproxy" in request.node.name)
