"""A PostgreSQL server of its own for the tests, on a socket in a temporary directory."""

from __future__ import annotations

import atexit
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from urllib.parse import quote

import pytest

PASSWORD = "correct horse@battery/staple"
ROLE = "tests"

_OPTIONS = {
    "listen_addresses": "",
    "lc_messages": "C",
    "shared_buffers": "32MB",
    # Durable after a kill of the server, and not after one of the machine.
    "fsync": "off",
    "full_page_writes": "off",
    # After a vacuum of the catalogs the next login writes a file; a full disk has no room for it.
    "autovacuum": "off",
}

AT_END = ExitStack()
"""Stops the servers and deletes their folders.

A run of tests closes it, because the workers of pytest-xdist may end without the functions of
`atexit`; other programs end with these.
"""
atexit.register(AT_END.close)


@dataclass
class PostgresServer:
    """A server with its data and its socket in ``folder``; ``programs`` is where PostgreSQL is.

    PostgreSQL refuses to run as root, so root starts it as ``account``.
    """

    folder: Path
    programs: Path
    account: str | None
    _numbers: itertools.count[int] = field(default_factory=itertools.count, init=False)

    def create(self) -> None:
        """Create an empty cluster of databases, whose role `ROLE` logs in with `PASSWORD`."""
        password = self.folder / "password"
        password.write_text(PASSWORD)
        options = [f"--username={ROLE}", "--auth=scram-sha-256", f"--pwfile={password}"]
        options += ["--encoding=UTF8", "--locale=C", "--data-checksums"]
        options += ["--no-sync", "--no-instructions"]
        if self.account is not None:
            shutil.chown(password, self.account)
        self._run("initdb", f"--pgdata={self.folder / 'data'}", *options)

    def start(self, **options: str) -> None:
        """Start the server, with further options of its configuration, and wait for it."""
        given = _OPTIONS | {"unix_socket_directories": str(self.folder)} | options
        shown = " ".join(f"-c {name}='{value}'" for name, value in given.items())
        self._control("start", f"--log={self.folder / 'log'}", f"--options={shown}")

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server; ``immediate`` leaves recovery to the next start."""
        self._control("stop", f"--mode={mode}")

    @contextmanager
    def down(self) -> Iterator[None]:
        """Stop the server at once, and start it again after the block."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Let no process of the server run during the block; connections stay open."""
        main = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        # The first one starts no other while it is stopped.
        os.kill(main, signal.SIGSTOP)
        children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
        pids = [main, *map(int, children)]
        try:
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def make_standby(self) -> PostgresServer:
        """Copy a running server; the copy, once it is started, follows it and only reads."""
        standby = PostgresServer(_make_folder(self.account), self.programs, self.account)
        source = [f"--host={self.folder}", f"--username={ROLE}", "--checkpoint=fast", "--no-sync"]
        source += ["--no-verify-checksums"]  # a test may have damaged a page of its database
        target = ["--write-recovery-conf", f"--pgdata={standby.folder / 'data'}"]
        standby._run("pg_basebackup", *source, *target, PGPASSWORD=PASSWORD)
        return standby

    def promote(self) -> None:
        """Let a standby take writes."""
        self._control("promote")

    def url(self, database: str, *, role: str = ROLE, password: str = PASSWORD) -> str:
        """Return the URL of a database, with the password in it."""
        login = f"{quote(role, safe='')}:{quote(password, safe='')}"
        return f"postgresql://{login}@/{database}?host={quote(str(self.folder), safe='')}"

    def create_database(self, properties: str = "ENCODING 'UTF8'") -> str:
        """Create an empty database, and return its URL."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE template0 {properties}")
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Delete the database of a URL, and end the connections to it."""
        from psycopg.conninfo import conninfo_to_dict

        self.execute(f"DROP DATABASE {conninfo_to_dict(url)['dbname']} WITH (FORCE)")

    def execute(self, query: str) -> None:
        """Run a statement as the administrator, outside the databases of tests."""
        import psycopg

        with psycopg.connect(self.url("postgres"), autocommit=True) as db:
            db.execute(query)

    def _control(self, action: str, *options: str) -> None:
        self._run("pg_ctl", action, f"--pgdata={self.folder / 'data'}", "--wait", *options)

    def _run(self, program: str, *options: str, **environment: str) -> None:
        account = self.account
        # The server keeps the standard output open: a pipe would never end.
        subprocess.run(
            [self.programs / program, *options],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            cwd=self.folder,
            env=os.environ | environment,
            user=account,
            group=None if account is None else pwd.getpwnam(account).pw_gid,
            extra_groups=None if account is None else [],
        )


@cache
def running_server() -> PostgresServer:
    """Start a server at the first call, and stop it at the end of the run; see `server_of_test`."""
    server = server_of_test()
    server.create()
    server.start()
    AT_END.callback(server.stop)
    return server


def server_of_test() -> PostgresServer:
    """Return a server that does not exist yet.

    Skips the test where PostgreSQL or psycopg is not installed.
    """
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    server = new_server()
    if server is None:
        pytest.skip("PostgreSQL is not installed")
    return server


def new_server() -> PostgresServer | None:
    """Return a server that does not exist yet, or None where PostgreSQL is not installed."""
    programs, account = _find_programs(), _account()
    if programs is None:
        return None
    return PostgresServer(_make_folder(account), programs, account)


def _find_programs() -> Path | None:
    """Return the folder of the newest PostgreSQL of this machine, or None."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    versions = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    return max((one.parent for one in versions), key=_version, default=None)


def _make_folder(account: str | None) -> Path:
    """Return a new folder of an account, which is deleted at the end of the run.

    Not below the folder of pytest, which only its own account can enter; and with a short path,
    because that of a socket has at most 107 bytes.
    """
    folder = Path(tempfile.mkdtemp(prefix="embedder-postgres-", dir="/tmp"))
    AT_END.callback(shutil.rmtree, folder)
    if account is not None:
        shutil.chown(folder, account)
    return folder


def _account() -> str | None:
    """Return the account that root starts the server as, None for any other user."""
    if os.geteuid() != 0:
        return None
    known = {one.pw_name for one in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


def _version(folder: Path) -> float:
    return float(folder.parent.name)
