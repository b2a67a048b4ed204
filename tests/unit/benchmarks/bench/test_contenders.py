"""A contender that cannot be started says why."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.bench import contenders
from benchmarks.bench.contenders import Setting, start
from benchmarks.bench.lines import NotMeasured
from benchmarks.bench.results import INFINITY, ONNX, ST
from benchmarks.bench.vectors import DIRECT


@pytest.fixture
def setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setting:
    monkeypatch.setattr(contenders, "ENVIRONMENTS", tmp_path)
    return Setting(tmp_path / "model", tmp_path / "config.yaml", tmp_path)


def _install(folder: Path, name: str, program: str) -> None:
    """Put a program in the place of an environment's."""
    path = folder / "bin" / name
    path.parent.mkdir(parents=True)
    path.write_text(f"#!{sys.executable} -I\n{program}\n")
    path.chmod(0o755)
    (folder / ".installed").touch()


@pytest.mark.parametrize(("name", "peer"), [(ST, ST), (ONNX, ST), (INFINITY, INFINITY)])
def test_a_peer_that_is_not_installed_is_told_with_the_end_of_its_log(
    name: str, peer: str, setting: Setting
) -> None:
    (setting.logs / f"{peer}.log").write_text("Collecting x\nERROR: no such release\n")

    with (
        pytest.raises(NotMeasured, match="not installed: ERROR: no such release"),
        start(name, setting),
    ):
        pass


def test_a_peer_is_run_by_its_own_python_with_the_model_and_the_backend(setting: Setting) -> None:
    program = (
        "import json, sys; print(json.dumps({'arguments': sys.argv[1:]}), flush=True); input()"
    )
    _install(setting.logs / ST, "python", program)

    with start(ONNX, setting) as encoder:
        isolated, worker, *rest = encoder.about["arguments"]

    assert isolated == "-I"
    assert Path(worker).samefile(contenders.WORKER)
    assert rest == [str(setting.model), "--backend", "onnx"]


def test_a_server_that_ends_while_it_starts_is_told_with_its_last_words(setting: Setting) -> None:
    _install(setting.logs / INFINITY, "infinity_emb", "raise SystemExit('no such flag')")

    with (
        pytest.raises(NotMeasured, match="it ended while starting: no such flag"),
        start(INFINITY, setting),
    ):
        pass


def test_a_server_is_asked_when_it_is_ready_and_ended_in_the_end(setting: Setting) -> None:
    program = """
import http.server, sys
port = int(sys.argv[sys.argv.index("--port") + 1])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""
    _install(setting.logs / INFINITY, "infinity_emb", program)

    with start(INFINITY, setting) as server:
        assert isinstance(server, contenders.Server)
        with DIRECT.open(server.url + server.noop) as answer:
            assert answer.status == 200
    with pytest.raises(OSError, match="refused"):
        DIRECT.open(server.url + server.noop)
