"""HAProxy's certificate: the options of its port, and its renewal while HAProxy runs.

A process beside each HAProxy reads the files every `READ_S` seconds. When they have changed and
belong together, it gives them to HAProxy over the admin socket: later connections get the new
certificate, and none is closed. A process of its own, because HAProxy runs on nodes without any
other process of the service, and Ray watches the one that becomes HAProxy.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

from deployments.launch.tls.certificate import Certificate
from deployments.launch.tls.checks import pem as pem_of
from embedder.core.errors import ConfigurationError
from embedder.core.private_files import create

logger = logging.getLogger(__name__)

READ_S = 2.0
ANSWER_S = 10.0

CIPHERS = ":".join(
    f"ECDHE-{key}-{cipher}"
    for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
    for key in ("ECDSA", "RSA")
)
"""For TLS 1.2: those with forward secrecy and authenticated encryption (Mozilla's "intermediate").
OpenSSL's own for TLS 1.3 are all of that kind."""

FRONTEND = re.compile(r"^(frontend http_frontend\n[ \t]*bind [^\n]+)", re.MULTILINE)
BLOCK = re.compile(rb"-----BEGIN [^\n]+-----.*?-----END [^\n]+-----", re.DOTALL)
SOCKET = re.compile(r"^[ \t]*stats socket (\S+)", re.MULTILINE)


def encrypted(config: str, pem: Path) -> str:
    """Return Ray's configuration whose port for clients answers by TLS alone.

    Raises:
        ConfigurationError: this version of Ray writes another line for the port.
    """
    options = f"ssl crt {pem} ssl-min-ver TLSv1.2 ciphers {CIPHERS} no-tls-tickets alpn http/1.1"
    config, count = FRONTEND.subn(rf"\1 {options}", config)
    if count != 1:
        raise ConfigurationError(
            "this version of Ray configures HAProxy's port in an unknown way, so it cannot have a "
            "certificate"
        )
    return config


def install(certificate: Certificate, pem: Path) -> bool:
    """Write the file that HAProxy reads; return whether it has changed.

    Raises:
        ConfigurationError: as `tls.checks.pem`; the file stays as it is.
    """
    content = pem_of(certificate)
    if pem.is_file() and pem.read_bytes() == content:
        return False
    new = pem.with_name(f"{pem.name}.new")
    with create(new) as file:
        file.write(content)
    new.replace(pem)
    return True


def prepare(config: Path, text: str, *, watched: bool) -> str:
    """Return the content ``text`` of the file ``config`` with TLS; this process becomes HAProxy.

    If the files do not belong together, an earlier HAProxy's are used, so that a reload never fails
    because of a renewal. With ``watched``, a process is started that renews the certificate.

    Raises:
        ConfigurationError: a file is not named, or the files do not belong together and there is no
            earlier certificate.
    """
    certificate = Certificate.of_environment(os.environ)
    assert certificate is not None
    pem = config.with_name("certificate.pem")
    try:
        install(certificate, pem)
    except ConfigurationError as error:
        if not pem.is_file():
            raise
        logger.error("%s; the certificate before it stays", error)
    found = SOCKET.search(text)
    if watched and found is not None:
        command = [sys.executable, "-m", __name__, str(os.getpid()), found[1], str(pem)]
        subprocess.Popen([*command, *certificate.variables.values()])  # noqa: S603 - none is a client's
    return encrypted(text, pem)


def renew(certificate: Certificate, pem: Path, admin_socket: str) -> bool:
    """Give HAProxy the present files if they have changed; return whether they have.

    Raises:
        ConfigurationError: the files do not belong together, or HAProxy refuses them.
        OSError: HAProxy does not answer.
    """
    before = pem.read_bytes()
    if not install(certificate, pem):
        return False
    try:
        # Text between the blocks may have an empty line, which would end the content.
        blocks = b"\n".join(BLOCK.findall(pem.read_bytes()))
        _command(admin_socket, b"set ssl cert %b <<\n%b\n" % (bytes(pem), blocks))
        _command(admin_socket, b"commit ssl cert %b" % bytes(pem))
    except BaseException:
        pem.write_bytes(before)  # so that the next call tries again
        raise
    return True


def _command(admin_socket: str, command: bytes) -> None:
    """Send a command to HAProxy.

    Raises:
        ConfigurationError: HAProxy refuses it.
        OSError: HAProxy does not answer.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ANSWER_S)
        connection.connect(admin_socket)
        connection.sendall(command + b"\n")
        answer = b"".join(iter(lambda: connection.recv(4096), b"")).decode(errors="replace")
    if not re.search(r"Transaction (created|updated)|Success", answer):
        raise ConfigurationError(f"HAProxy refuses the certificate: {' '.join(answer.split())}")


def watch(haproxy: int, admin_socket: str, pem: Path, certificate: Certificate) -> None:
    """Renew the certificate of the process ``haproxy``, this one's parent, until that ends."""
    reported = ""
    while os.getppid() == haproxy:
        try:
            if renew(certificate, pem, admin_socket):
                logger.info("%s is used", certificate.certificate)
            reported = ""
        except (ConfigurationError, OSError) as error:
            if str(error) != reported:
                reported = str(error)
                logger.error("%s; the certificate before it stays", error)
        time.sleep(READ_S)


if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)  # to HAProxy's stderr
    watch(
        int(sys.argv[1]),
        sys.argv[2],
        Path(sys.argv[3]),
        Certificate(Path(sys.argv[4]), Path(sys.argv[5])),
    )
