"""Machines of their own addresses on this one: network, process and mount namespaces on a bridge.

A machine sees its own processes, network and Ray folders alone. It ends with everything in it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

NETWORKS = map("198.18.{}".format, count())
"""Addresses that are reserved for tests of networks; the bridge on this side has number 254."""

OWN_FOLDERS = ("/tmp/ray", "/tmp/haproxy-serve")
"""Folders in which processes of Ray on one machine find each other."""

HOLD = (
    "set -e; hostname {name}; ip link set lo up; ip link set eth0 up;"
    "ip address add {address}/24 dev eth0; ip route add default via {gateway};"
    "for folder in {folders}; do mount -t tmpfs none $folder; done; echo ready; exec sleep infinity"
)


class Machine:
    """A running machine; ``address`` is reached from this one and from the others."""

    def __init__(self, name: str, network: str, number: int, bridge: str, home: Path) -> None:
        self.name, self.address, self.home = name, f"{network}.{number}", home
        self._namespace = f"{bridge}{name}"
        self._link = f"{bridge}{number}"
        home.mkdir()
        for folder in OWN_FOLDERS:
            Path(folder).mkdir(exist_ok=True)
        _run("ip", "netns", "add", self._namespace)
        inside = ("peer", "name", "eth0", "netns", self._namespace)
        _run("ip", "link", "add", self._link, "type", "veth", *inside)
        _run("ip", "link", "set", self._link, "master", bridge, "up")
        gateway, folders = f"{network}.254", " ".join(OWN_FOLDERS)
        script = HOLD.format(name=name, address=self.address, gateway=gateway, folders=folders)
        own = ("--pid", "--fork", "--kill-child", "--mount-proc", "--uts", "--propagation=private")
        command = ["ip", "netns", "exec", self._namespace, "unshare", *own, "sh", "-c", script]
        self._holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != "ready\n":
            self.end()
            raise RuntimeError(f"{name} does not start")

    def run(
        self, command: str, variables: Mapping[str, str] | None = None, *, timeout_s: float = 120
    ) -> str:
        """Return what a shell command in the home folder of the machine prints.

        Raises:
            RuntimeError: it fails; the message is its output.
        """
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8"}
        done = subprocess.run(
            [
                "nsenter",
                "--target",
                str(self._first_process),
                "--all",
                "bash",
                "-c",
                f"cd; {command}",
            ],
            env={**environment, **(variables or {})},
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{self.name}: {command}\n{done.stdout}{done.stderr}")
        return done.stdout

    def disconnect(self) -> None:
        """Take the machine off the network without closing a connection."""
        _run("ip", "link", "set", self._link, "down")

    def end(self) -> None:
        """End every process of the machine, and remove its network."""
        self._holder.kill()
        self._holder.wait()
        assert self._holder.stdout is not None
        self._holder.stdout.close()
        _run("ip", "netns", "delete", self._namespace)

    @property
    def _first_process(self) -> int:
        holder = self._holder.pid
        return int(Path(f"/proc/{holder}/task/{holder}/children").read_text().split()[0])


@contextmanager
def started(names: list[str], folder: Path) -> Iterator[list[Machine]]:
    """Yield a machine for each name, numbered from 1, and end them."""
    network = next(NETWORKS)
    bridge = f"eb{os.getpid() % 100_000}x{network.rpartition('.')[2]}"
    _run("ip", "link", "add", bridge, "type", "bridge")
    with ExitStack() as stack:
        stack.callback(_run, "ip", "link", "delete", bridge)
        _run("ip", "address", "add", f"{network}.254/24", "dev", bridge)
        _run("ip", "link", "set", bridge, "up")
        machines = []
        for number, name in enumerate(names, start=1):
            machines.append(Machine(name, network, number, bridge, folder / name))
            stack.callback(machines[-1].end)
        yield machines


def problem() -> str | None:
    """Return why this machine cannot have namespaces, or None."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [name for name in ("ip", "unshare", "nsenter") if shutil.which(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    name = f"eb{os.getpid()}probe"
    try:
        _run("ip", "netns", "add", name)
        _run("ip", "netns", "exec", name, "unshare", "--pid", "--fork", "--mount-proc", "true")
        _run("ip", "netns", "delete", name)
    except RuntimeError as error:
        return f"this machine does not permit namespaces: {error}"
    return None


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
