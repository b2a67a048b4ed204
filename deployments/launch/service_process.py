"""A service in a child process: waits until it is ready, watches it, and stops it."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deployments.launch.readiness import not_ready, waiting_for
from deployments.launch.services.announcement import describe_ray
from deployments.launch.services.instances import REFUSAL_FILE, ServiceInstance, end
from deployments.logs.output_log import OutputLog
from embedder.core.deadline import Deadline
from embedder.core.errors import ConfigurationError

POLL_S = 0.1
WATCH_S = 5.0
STOP_S = 45.0


@dataclass(frozen=True, slots=True)
class ServiceProcess:
    """A service that is starting or running as a child process.

    Its output is in ``log``; ``output`` is what writes it, None if the process does so itself.
    """

    process: subprocess.Popen[bytes]
    service: ServiceInstance
    url: str
    log: Path
    has_keys: bool = False
    output: OutputLog | None = None

    def wait_until_ready(self, timeout_s: float, progress: Callable[[str], None]) -> None:
        """Wait until ``/readyz`` says ready; report to ``progress`` which stages are not.

        Raises:
            ConfigurationError: the service ended, cannot start, or is not ready in time; the
                message gives the reason, or the end of the log.
        """
        deadline = Deadline.after(timeout_s)
        while not deadline.expired:
            if self.process.poll() is not None:
                raise ConfigurationError(f"the service ended while starting:\n{self.tail()}")
            with contextlib.suppress(FileNotFoundError):
                raise ConfigurationError(Path(self.service.folder, REFUSAL_FILE).read_text())
            missing = waiting_for(self.url)
            if missing is None:
                describe_ray(self.service, self._printed())
                return
            progress(missing)
            time.sleep(POLL_S)
        raise ConfigurationError(f"not ready within {timeout_s:.0f} s:\n{self.tail()}")

    def watch(self, report: Callable[[str], None]) -> None:
        """Report every change of the service's readiness until the service ends."""
        reported: str | None = None
        while self.process.poll() is None:
            missing = not_ready(self.url)
            if missing != reported and self.process.poll() is None:
                report(missing or "every stage answers again")
                reported = missing
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(WATCH_S)

    def stop(self) -> None:
        """Stop all processes of the service: gracefully, or at once after another interrupt."""
        try:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGINT)
                self.process.wait(STOP_S)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            pass
        finally:
            end(self.service)
            self.process.wait()

    def tail(self, lines: int = 20) -> str:
        """Return the end of the child's output; "" if that is on a device, as a terminal."""
        if self.output is not None and self.process.poll() is not None:
            self.output.drain()
        return "\n".join(self._printed().splitlines()[-lines:])

    def _printed(self) -> str:
        return self.log.read_text(errors="replace") if self.log.is_file() else ""
