"""Ray's TLS between two machines: the service runs, and peers without a certificate get nothing."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest

from deployments.launch.tls.certificate import Certificate
from tests.nodes.machines import Machine, problem, started
from tests.nodes.shipped import TOKEN, ShippedCluster
from tests.nodes.waiting import is_ready, wait_for
from tests.private_ca import PrivateCA

NAMES = ("head", "data")
STRANGER = "stranger"
STATE_PORT = 6379
ONE = {"min_replicas": 1, "max_replicas": 1}
SMALL = {
    "ingress": ONE,
    "tokenizer": ONE,
    "encoder": {
        "pools": [
            {"name": "cpu", "hardware": "cpu", "num_cpus": 1, **ONE},
            {"name": "gpu", "hardware": "gpu", "num_gpus": 1, "min_replicas": 0, "max_replicas": 1},
        ]
    },
}
"""Arguments for two machines that share the cores of this one."""

HTTP_2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""What a client of HTTP/2 sends first: the preface, and empty settings."""

REFUSED_S = 60
"""Seconds in which a program of Ray must not get an answer."""


def variables(certificate: Certificate, authority: PrivateCA) -> dict[str, str]:
    """Return Ray's variables for TLS."""
    return {
        "RAY_USE_TLS": "1",
        "RAY_TLS_SERVER_CERT": str(certificate.certificate),
        "RAY_TLS_SERVER_KEY": str(certificate.key),
        "RAY_TLS_CA_CERT": str(authority.certificate),
    }


class EncryptedCluster(ShippedCluster):
    """The shipped service on machines whose Ray has certificates of one authority."""

    def __init__(self, machines: list[Machine], stranger: Machine, authority: PrivateCA) -> None:
        super().__init__(machines)
        self.stranger, self.authority = stranger, authority
        self.certificates = {
            machine.name: authority.issue(machine.name, [machine.address, "127.0.0.1"])
            for machine in machines
        }

    def run(self, name: str, command: str, given: Mapping[str, str] | None = None) -> str:
        """Return what a command prints that has the certificate of its machine."""
        tls = variables(self.certificates[name], self.authority)
        return super().run(name, command, {**tls, **(given or {})})

    @property
    def state_address(self) -> str:
        """Return where Ray's control store listens."""
        return f"{self.machines['head'].address}:{STATE_PORT}"

    def status(self, given: Mapping[str, str]) -> str:
        """Return what a machine that is no node prints of the cluster with these variables."""
        ray = f"{self.machines['head'].home}/embedder/.venv/bin/ray"
        token = (self.machines["head"].home / ".ray" / "auth_token").read_text()
        command = f"timeout {REFUSED_S} {ray} status --address={self.state_address} 2>&1"
        return self.stranger.run(command, {**TOKEN, "RAY_AUTH_TOKEN": token, **given})


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EncryptedCluster]:
    """Yield a service on two machines, each of which is ready, beside a third machine."""
    if (why := problem()) is not None:
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("encrypted")
    with started([*NAMES, STRANGER], folder) as running:
        *nodes, stranger = running
        cluster = EncryptedCluster(nodes, stranger, PrivateCA(folder / "authority"))
        cluster.install(**SMALL)
        for name in NAMES:
            cluster.start(name)
        cluster.deploy()
        for name in NAMES:
            wait_for(f"{name} is ready", partial(is_ready, cluster.url(name, "")))
        yield cluster


def test_the_service_answers_on_every_machine(encrypted: EncryptedCluster) -> None:
    for name in NAMES:
        answer = encrypted.embed(name, f"to {name} " + "word " * 4000)

        assert answer.status_code == 200
        assert len(answer.json()["data"][0]["embedding"]) == 384


def test_ray_answers_peers_with_a_certificate_of_the_authority_alone(
    encrypted: EncryptedCluster, tmp_path: Path
) -> None:
    """All of them have Ray's token."""
    address = encrypted.stranger.address
    member = variables(encrypted.authority.issue("member", [address]), encrypted.authority)
    other = PrivateCA(tmp_path)
    foreign = variables(other.issue("foreign", [address]), encrypted.authority)

    assert "Node status" in encrypted.status(member)
    for refused in ({}, foreign):
        with pytest.raises(RuntimeError) as failure:
            encrypted.status(refused)
        assert "Node status" not in str(failure.value)


def test_every_grpc_port_of_rays_nodes_wants_a_certificate(encrypted: EncryptedCluster) -> None:
    for name in NAMES:
        address, own = encrypted.machines[name].address, encrypted.certificates[name]
        answering = set()
        for found in encrypted.listeners(name):
            program = found.command.split(" ")[0].rpartition("/")[2]
            if found.is_reached_from_elsewhere and program in ("gcs_server", "raylet"):
                if _greeting(address, found.port, own, encrypted.authority):
                    answering.add(found.port)
                assert _greeting(address, found.port, None, encrypted.authority) == b"", found
        assert answering
        assert (STATE_PORT in answering) == (name == "head")


def _greeting(address: str, port: int, client: Certificate | None, authority: PrivateCA) -> bytes:
    """Return the first bytes of a gRPC server; none if it ends or refuses the connection."""
    context = ssl.create_default_context(cafile=str(authority.certificate))
    context.set_alpn_protocols(["h2"])
    if client is not None:
        context.load_cert_chain(client.certificate, client.key)
    try:
        with (
            socket.create_connection((address, port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname=address) as connection,
        ):
            connection.sendall(HTTP_2)
            return connection.recv(9)
    except OSError:
        return b""
