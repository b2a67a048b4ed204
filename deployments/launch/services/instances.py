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
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from deployments.launch.services.description import ServiceDescription, read_description
from deployments.launch.services.process_table import start_time, user_processes
from embedder.core.deadline import Deadline

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
        return f"{self.description.url}, {self.origin}"

    @property
    def origin(self) -> str:
        """Return where its data is, and which process started it."""
        place = f"data in {self.data_directory or 'memory'}"
        if self.is_attended:
            started_in = self.description.started_in
            folder = "" if started_in is None else f" in {started_in}"
            return f"{place}, started by process {self.starter}{folder}"
        left = ", ".join(map(str, self.processes()))
        return f"{place}, left behind by process {self.starter}, which was killed: processes {left}"

    @property
    def mark(self) -> str:
        """Return the value of `MARK_VARIABLE` in its processes."""
        return json.dumps(asdict(self))

    @property
    def description(self) -> ServiceDescription:
        """Return what `embedder serve` wrote about it; only a URL once the folder is removed."""
        found = read_description(Path(self.folder))
        return found or ServiceDescription(f"http://127.0.0.1:{self.port}")

    @property
    def is_attended(self) -> bool:
        """Return whether its `embedder serve` still runs."""
        return start_time(self.starter) == self.started

    def processes(self) -> list[int]:
        """Return the ids of its processes, without that of `embedder serve`."""
        table = list(user_processes(MARK_VARIABLE))
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


def ray_addresses() -> dict[str, ServiceInstance | None]:
    """Return the address of every Ray of this user on this machine, and its service.

    The service is None if `serve run` or `ray start` started Ray.
    """
    by_mark = {service.mark: service for service in services()}
    nodes = [(process.ray_address, process.mark) for process in user_processes(MARK_VARIABLE)]
    return {address: by_mark.get(mark or "") for address, mark in nodes if address is not None}


def session_folder(ray_address: str) -> Path | None:
    """Return the folder of the session of a Ray of this user on this machine, None without one."""
    processes = user_processes(MARK_VARIABLE)
    folders = (one.session_folder for one in processes if one.ray_address == ray_address)
    return next(folders, None)


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


def _recorded() -> list[ServiceInstance]:
    """Return every service of this user that has a process or a folder, by port."""
    marks = {process.mark for process in user_processes(MARK_VARIABLE) if process.mark is not None}
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{MARK_FILE}"):
        with suppress(OSError):
            if path.stat().st_uid == os.getuid():
                marks.add(path.read_text())
    found = []
    for mark in marks:
        with suppress(ValueError, TypeError):
            found.append(ServiceInstance(**json.loads(mark)))
    return sorted(found, key=lambda service: (service.port, service.starter))


def watch(mark: str) -> None:
    """Wait until the other end of stdin closes, which the end of its process does; then `end`."""
    sys.stdin.buffer.read()
    end(ServiceInstance(**json.loads(mark)))


if __name__ == "__main__":
    watch(sys.argv[1])
