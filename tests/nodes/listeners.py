"""The sockets on which the processes of a machine listen; a program that runs on that machine."""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

LISTENING = "0A"


@dataclass(frozen=True)
class Listener:
    """A listening TCP socket, and the command of its process."""

    address: str
    port: int
    command: str

    @property
    def is_reached_from_elsewhere(self) -> bool:
        """Return whether another machine can connect to it."""
        return not self.address.startswith(("127.", "::1"))


def listeners() -> list[Listener]:
    """Return every listener of this network namespace, by port."""
    commands = _commands()
    found = set()
    for table in ("tcp", "tcp6"):
        for row in Path("/proc/net", table).read_text().splitlines()[1:]:
            fields = row.split()
            if fields[3] == LISTENING:
                host, _, port = fields[1].partition(":")
                command = commands.get(f"socket:[{fields[9]}]", "")
                found.add(Listener(_address(host), int(port, 16), command))
    return sorted(found, key=lambda listener: (listener.port, listener.address))


def _commands() -> dict[str, str]:
    """Return the command line of a process that holds each socket."""
    commands = {}
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            target = os.readlink(link)
            if target.startswith("socket:"):
                words = (link.parents[1] / "cmdline").read_bytes().replace(b"\0", b" ")
                commands[target] = words.decode(errors="replace").strip()
    return commands


def _address(hexadecimal: str) -> str:
    """Return an address of /proc/net, whose 32-bit words have the machine's byte order."""
    words = [int(hexadecimal[at : at + 8], 16) for at in range(0, len(hexadecimal), 8)]
    family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
    return socket.inet_ntop(family, struct.pack(f"={len(words)}I", *words))


if __name__ == "__main__":
    json.dump([asdict(listener) for listener in listeners()], sys.stdout)
