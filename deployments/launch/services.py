"""The services that `embedder serve` started on this machine, and the remains of killed ones.

A process belongs to a service if it is in the session of the service's `serve run`, or has
`MARK_VARIABLE` in its environment, which Ray passes on to every process that it starts. Keep the
imports few: the process that watches over a service runs this module.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from embedder.core.deadline import Deadline
from embedder.core.errors import ConfigurationError

MARK_VARIABLE = "SERVED_BY_EMBEDDER"
"""Must not begin with EMBEDDER_, the prefix of settings."""

PREFIX = "embedder-"
"""Prefix of the names of temporary folders."""

MARK_FILE, SESSION_FILE, REFUSAL_FILE = "service.json", "session", "refusal"

END_S = 30.0
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class ServiceInstance:
    """One start of a service.

    ``starter`` is the process id of `embedder serve`, and ``started`` its start time in clock ticks
    since boot. ``folder`` holds temporary files; ``block`` is the first port of the block.
    """

    port: int
    data_directory: str | None
    starter: int
    started: int
    folder: str
    block: int

    def __str__(self) -> str:
        """Return a description that tells the service from others."""
        place = f"port {self.port}, data in {self.data_directory or 'memory'}"
        if self.is_attended:
            return f"{place}, started by process {self.starter}"
        left = ", ".join(map(str, self.processes()))
        return f"{place}, left behind by process {self.starter}, which was killed: processes {left}"

    @property
    def mark(self) -> str:
        """Return the value of `MARK_VARIABLE` in its processes."""
        return json.dumps(asdict(self))

    @property
    def is_attended(self) -> bool:
        """Return whether its `embedder serve` still runs."""
        return start_time(self.starter) == self.started

    def processes(self) -> list[int]:
        """Return the ids of its processes, without that of `embedder serve`."""
        table = list(_processes())
        marked = {process.id for process in table if process.mark == self.mark}
        sessions = {process.session for process in table if process.id in marked}
        with suppress(OSError, ValueError):
            sessions.add(int(Path(self.folder, SESSION_FILE).read_text()))
        # Some processes of Ray overwrite their environment with a process title.
        titled = {
            process.id
            for process in table
            if process.session in sessions and process.is_titled_by_ray
        }
        return sorted(marked | titled)


def services() -> list[ServiceInstance]:
    """Return this user's services on this machine by port, orphaned ones included."""
    return [service for service in _recorded() if service.is_attended or service.processes()]


def remove_folders() -> None:
    """Remove the temporary folders of services that have no process left."""
    for service in set(_recorded()) - set(services()):
        end(service)


def choose(port: int | None = None, directory: Path | None = None) -> ServiceInstance:
    """Return the service with this port and this data directory, or the only service.

    Raises:
        ConfigurationError: no service or several services match; the message lists all services.
    """
    found = services()
    matching = [
        service
        for service in found
        if port in (None, service.port)
        and (directory is None or service.data_directory == str(directory.absolute()))
    ]
    if len(matching) == 1:
        return matching[0]
    problem = "several services run here; choose one by --port or --data-directory:"
    if not matching:
        problem = "no such service runs here; there are:" if found else "no service runs here"
    raise ConfigurationError("\n  ".join([problem, *map(str, found)]))


def ray_addresses() -> dict[str, ServiceInstance | None]:
    """Return the address of every Ray of this user on this machine, and its service.

    The service is None if `serve run` or `ray start` started Ray.
    """
    by_mark = {service.mark: service for service in services()}
    nodes = [(process.address, process.mark) for process in _processes()]
    return {address: by_mark.get(mark or "") for address, mark in nodes if address is not None}


def end(service: ServiceInstance) -> list[int]:
    """Kill all processes of a service and remove its folder; return the processes that remain."""
    deadline = Deadline.after(END_S)
    while (processes := service.processes()) and not deadline.expired:
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(POLL_S)  # each may have started another process in the meantime
    with suppress(OSError):
        # Remove only a folder that names this service.
        if Path(service.folder, MARK_FILE).read_text() == service.mark:
            shutil.rmtree(service.folder, ignore_errors=True)
    return processes


def report_to_starter(refusal: str) -> bool:
    """Report to the service's `embedder serve` why it cannot start; return False without one."""
    try:
        folder = json.loads(os.environ[MARK_VARIABLE])["folder"]
        written = Path(folder, f"{REFUSAL_FILE}.new")
        written.write_text(refusal)
        written.rename(Path(folder, REFUSAL_FILE))
    except (KeyError, ValueError, OSError):
        return False
    return True


def start_time(process: int) -> int | None:
    """Return the start time of a process in clock ticks since boot; None if it does not run.

    The kernel reuses process ids, but not together with the start time.
    """
    fields = _fields(Path(f"/proc/{process}/stat"))
    return None if fields is None or fields[0] == "Z" else int(fields[19])


@dataclass(frozen=True, slots=True)
class _Process:
    id: int
    session: int
    mark: str | None
    arguments: list[bytes]

    @property
    def is_titled_by_ray(self) -> bool:
        return self.arguments[0].startswith((b"ray::", b"ray-"))

    @property
    def address(self) -> str | None:
        """Return the address of Ray if this process is a raylet, the process of a node."""
        flag = b"--gcs-address="
        if not self.arguments[0].endswith(b"/raylet"):
            return None
        given = [word[len(flag) :].decode() for word in self.arguments if word.startswith(flag)]
        return given[0] if given else None


def _recorded() -> list[ServiceInstance]:
    """Return every service of this user that has a process or a folder, by port."""
    marks = {process.mark for process in _processes() if process.mark is not None}
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{MARK_FILE}"):
        with suppress(OSError):
            if path.stat().st_uid == os.getuid():
                marks.add(path.read_text())
    found = []
    for mark in marks:
        with suppress(ValueError, TypeError):
            found.append(ServiceInstance(**json.loads(mark)))
    return sorted(found, key=lambda service: (service.port, service.starter))


def _processes() -> Iterator[_Process]:
    """Yield the processes of this user."""
    prefix = f"{MARK_VARIABLE}=".encode()
    for path in Path("/proc").glob("[0-9]*"):
        fields = _fields(path / "stat")
        if fields is None or fields[0] == "Z":
            continue
        with suppress(OSError):
            environment = (path / "environ").read_bytes().split(b"\0")
            marks = [
                word[len(prefix) :].decode() for word in environment if word.startswith(prefix)
            ]
            arguments = (path / "cmdline").read_bytes().split(b"\0")
            yield _Process(int(path.name), int(fields[3]), marks[0] if marks else None, arguments)


def _fields(path: Path) -> list[str] | None:
    """Return the fields of a ``stat`` file after the process name, which may hold any character."""
    try:
        return path.read_bytes().rpartition(b")")[2].decode().split()
    except OSError:
        return None


def watch(mark: str) -> None:
    """Wait until the other end of stdin closes, which the end of its process does; then `end`."""
    sys.stdin.buffer.read()
    end(ServiceInstance(**json.loads(mark)))


if __name__ == "__main__":
    watch(sys.argv[1])
