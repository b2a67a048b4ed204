"""Fixtures: archives, and a Redis server for the tests that need a real one."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.unit.cache.archives import small_parts, written

__all__ = ["redis", "small_parts", "written"]

PASSWORD = "correct-horse"
START_S = 60.0


@dataclass
class RedisServer:
    """A server on a socket in ``folder`` that can be stopped and restarted."""

    folder: Path
    program: str
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        """Return the URL with the password."""
        return f"unix://:{PASSWORD}@{self.folder / 'redis.sock'}"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        socket = self.folder / "redis.sock"
        options = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--appendonly", "no"]
        options += ["--requirepass", PASSWORD, "--dir", str(self.folder), "--daemonize", "no"]
        self._process = subprocess.Popen([self.program, *options], stdout=subprocess.DEVNULL)
        from redis import Redis, RedisError

        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            client = Redis(unix_socket_path=str(socket), password=PASSWORD)
            with contextlib.suppress(RedisError), client:
                client.ping()
                return
            time.sleep(0.01)
        raise AssertionError(f"the server does not answer after {START_S:.0f} s")

    def stop(self) -> None:
        """Kill the server."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            (self.folder / "redis.sock").unlink(missing_ok=True)


@pytest.fixture
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Yield a running server."""
    pytest.importorskip("redis", reason="redis-py is not installed")
    program = shutil.which("valkey-server") or shutil.which("redis-server")
    if program is None:
        pytest.skip("neither valkey-server nor redis-server is installed")
    # A short name: the path of a socket is limited to about 100 characters.
    server = RedisServer(tmp_path_factory.mktemp("r"), program)
    server.start()
    yield server
    server.stop()
