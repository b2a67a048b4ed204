"""The options for TLS: what Ray gets, what HAProxy gets, and how the readiness is read."""

from __future__ import annotations

import os
import ssl
import subprocess
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from deployments.launch.preflight import base_url, check_contents
from deployments.launch.ray_environment import ray_environment
from deployments.launch.readiness import waiting_for
from deployments.launch.services.instances import ServiceInstance
from deployments.launch.tls import haproxy_tls
from deployments.launch.tls.certificate import (
    CERTIFICATE_VARIABLE,
    KEY_VARIABLE,
    Certificate,
    without_tls,
)
from deployments.launch.tls.haproxy_tls import encrypted, prepare
from embedder.core.errors import ConfigurationError
from tests.private_ca import PrivateCA

FILES = {"ssl_certfile": "/c.pem", "ssl_keyfile": "/k.pem"}


def document(**options: Any) -> Mapping[str, Any]:
    """Return a Serve configuration with these options."""
    return {"applications": [], "http_options": {"host": "127.0.0.1", "port": 8000, **options}}


def test_the_url_says_that_there_is_tls() -> None:
    assert base_url(document()) == "http://127.0.0.1:8000"
    assert base_url(document(**FILES)) == "https://127.0.0.1:8000"


def test_ray_gets_no_option_for_what_haproxy_does() -> None:
    assert without_tls(document(**FILES)) == document()


def test_one_file_without_the_other_is_refused_also_by_deploy() -> None:
    check_contents(document(**FILES))
    with pytest.raises(ConfigurationError, match=r"http_options\.ssl_keyfile is missing"):
        check_contents(document(ssl_certfile="/c.pem"))


def test_haproxy_has_the_certificate_of_this_service_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CERTIFICATE_VARIABLE, "/of/a/cluster.pem")
    service = ServiceInstance(9, None, os.getpid(), 0, str(tmp_path), 20_000)
    plain = ray_environment(service, True, alone=True)
    own = Certificate(Path("/c.pem"), Path("/k.pem"))
    tls = ray_environment(service, True, alone=True, certificate=own)

    assert (plain[CERTIFICATE_VARIABLE], plain[KEY_VARIABLE]) == ("", "")
    assert (tls[CERTIFICATE_VARIABLE], tls[KEY_VARIABLE]) == ("/c.pem", "/k.pem")


def test_a_port_that_is_configured_in_an_unknown_way_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="in an unknown way"):
        encrypted("frontend http\n    bind *:8000\n", Path("/c.pem"))


def test_an_earlier_certificate_is_used_where_the_present_one_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """HAProxy must start: a failed reload would leave it with replicas that are gone."""
    good = PrivateCA(tmp_path / "ca").issue("good")
    for name, value in good.variables.items():
        monkeypatch.setenv(name, value)
    started: list[list[str]] = []
    monkeypatch.setattr(subprocess, "Popen", started.append)
    text = "global\n    stats socket /admin.sock mode 600\nfrontend http_frontend\n    bind *:1\n"
    config = tmp_path / "haproxy.cfg"
    first = prepare(config, text, watched=True)
    good.key.unlink()
    second = prepare(config, text, watched=False)

    assert first == second
    assert f"\n    bind *:1 ssl crt {tmp_path / 'certificate.pem'} ssl-min-ver TLSv1.2 " in first
    assert "cannot be read: No such file or directory; the certificate before it" in caplog.text
    ((_, _, module, *arguments),) = started
    assert module == haproxy_tls.__name__
    expected = [str(os.getpid()), "/admin.sock", str(tmp_path / "certificate.pem")]
    assert arguments == [*expected, *good.variables.values()]


def test_the_readiness_is_read_by_tls_whatever_the_name(tmp_path: Path) -> None:
    certificate = PrivateCA(tmp_path / "ca").issue("served", ["embedder.example"])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503)
            self.end_headers()
            self.wfile.write(b'{"stages": {"Encoder": "loads"}, "capabilities": {}}')

        def log_message(self, *_: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        Thread(target=server.serve_forever, args=(0.01,)).start()
        try:
            assert waiting_for(f"https://127.0.0.1:{server.server_port}") == "waiting for Encoder"
            assert waiting_for(f"http://127.0.0.1:{server.server_port}") == "no answer yet"
        finally:
            server.shutdown()
