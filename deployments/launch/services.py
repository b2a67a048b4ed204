"""The services that `embedder serve` started on this machine, and what is left of killed ones.

Every process of a service is in the session of its `serve run`, and has `MARK_VARIABLE` in its
environment, which Ray passes on to all that it starts; a process of another program never is. Knows
nothing of Ray but what its processes are called, and imports little: the process that watches over
a service runs this module.
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

from embedder.core.errors import ConfigurationError

MARK_VARIABLE = "SERVED_BY_EMBEDDER"
"""Does not begin with EMBEDDER_, as the variables of settings do."""

PREFIX = "embedder-"
"""What the names of temporary folders begin with."""

MARK_FILE, SESSION_FILE, REFUSAL_FILE = "service.json", "session", "refusal"

END_S = 30.0
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class ServiceInstance:
    """One start of a service: where it listens and keeps its data, and who started it.

    ``starter`` is the process of `embedder serve`, ``started`` its start time in the kernel's
    ticks. ``folder`` holds temporary files, ``block`` is the first port of its block.
    """

    port: int
    data_directory: str | None
    starter: int
    started: int
    folder: str
    block: int

    def __str__(self) -> str:
        """Return a description by which people know the service from others."""
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
        """Return whether its `embedder serve` lives."""
        return start_time(self.starter) == self.started

    def processes(self) -> list[int]:
        """Return the ids of its processes; that of `embedder serve` is not among them."""
        table = list(_processes())
        marked = {process.id for process in table if process.mark == self.mark}
        sessions = {process.session for process in table if process.id in marked}
        with suppress(OSError, ValueError):
            sessions.add(int(Path(self.folder, SESSION_FILE).read_text()))
        # Some processes of Ray write a title over their environment.
        titled = {one.id for one in table if one.session in sessions and one.is_titled_by_ray}
        return sorted(marked | titled)


def services() -> list[ServiceInstance]:
    """Return this user's services of this machine, those that were left behind too, by port."""
    return [one for one in _known() if one.is_attended or one.processes()]


def remove_folders() -> None:
    """Remove the temporary folders of services of which nothing else is left."""
    for service in set(_known()) - set(services()):
        end(service)


def choose(port: int | None = None, directory: Path | None = None) -> ServiceInstance:
    """Return the service with this port and this data directory, or the only one there is.

    Raises:
        ConfigurationError: there is none or several; the message lists all.
    """
    found = services()
    fitting = [
        one
        for one in found
        if port in (None, one.port)
        and (directory is None or one.data_directory == str(directory.absolute()))
    ]
    if len(fitting) == 1:
        return fitting[0]
    problem = "several services run here; choose one by --port or --data-directory:"
    if not fitting:
        problem = "no such service runs here; there are:" if found else "no service runs here"
    raise ConfigurationError("\n  ".join([problem, *map(str, found)]))


def ray_addresses() -> dict[str, ServiceInstance | None]:
    """Return the address of every Ray of this user here, and the service that it was started for.

    That is None for one that `serve run` or `ray start` started.
    """
    known = {service.mark: service for service in services()}
    nodes = [(one.address, one.mark) for one in _processes()]
    return {address: known.get(mark or "") for address, mark in nodes if address is not None}


def end(service: ServiceInstance) -> list[int]:
    """Kill all processes of a service and remove its folder; return the processes that remain."""
    deadline = time.monotonic() + END_S
    while (processes := service.processes()) and time.monotonic() < deadline:
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(POLL_S)  # each may have started another one meanwhile
    with suppress(OSError):
        # Only a folder that says of itself whose it is.
        if Path(service.folder, MARK_FILE).read_text() == service.mark:
            shutil.rmtree(service.folder, ignore_errors=True)
    return processes


def report_to_starter(refusal: str) -> bool:
    """Report why the service cannot start to its `embedder serve`; return False without one."""
    try:
        folder = json.loads(os.environ[MARK_VARIABLE])["folder"]
        written = Path(folder, f"{REFUSAL_FILE}.new")
        written.write_text(refusal)
        written.rename(Path(folder, REFUSAL_FILE))
    except (KeyError, ValueError, OSError):
        return False
    return True


def start_time(process: int) -> int | None:
    """Return when a process started, in the kernel's ticks, or None where there is none.

    The number of a process is used again; number and start time together are not.
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
        """Return the address of the Ray whose node this process is."""
        flag = b"--gcs-address="
        if not self.arguments[0].endswith(b"/raylet"):
            return None
        given = [one[len(flag) :].decode() for one in self.arguments if one.startswith(flag)]
        return given[0] if given else None


def _known() -> list[ServiceInstance]:
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
    """Give the processes of this user."""
    wanted = f"{MARK_VARIABLE}=".encode()
    for path in Path("/proc").glob("[0-9]*"):
        fields = _fields(path / "stat")
        if fields is None or fields[0] == "Z":
            continue
        with suppress(OSError):
            environment = (path / "environ").read_bytes().split(b"\0")
            marks = [one[len(wanted) :].decode() for one in environment if one.startswith(wanted)]
            arguments = (path / "cmdline").read_bytes().split(b"\0")
            yield _Process(int(path.name), int(fields[3]), marks[0] if marks else None, arguments)


def _fields(path: Path) -> list[str] | None:
    """Return the fields of a ``stat`` file after the name, which may hold anything."""
    try:
        return path.read_text().rpartition(")")[2].split()
    except OSError:
        return None


def watch(mark: str) -> None:
    """Wait until the other end of stdin is closed, as by the death of its process; then `end`."""
    sys.stdin.buffer.read()
    end(ServiceInstance(**json.loads(mark)))


if __name__ == "__main__":
    watch(sys.argv[1])
