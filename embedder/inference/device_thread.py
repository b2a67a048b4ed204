"""The thread that computes for all encoders of one device."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

LOW_PRIORITY_NICENESS = 4
"""Niceness added to a low-priority thread, which then gets less than half the usual CPU share."""

MAX_NICENESS = 19


def device_thread(*, low_priority: bool = False) -> ThreadPoolExecutor:
    """Return the thread that computes for all encoders that share a device.

    With ``low_priority`` the thread yields the cores: answering a request needs little time but
    needs it at once, and a batch only takes slightly longer.
    """
    return ThreadPoolExecutor(
        1, thread_name_prefix="device", initializer=_lower_priority if low_priority else None
    )


def _lower_priority() -> None:
    """Raise the niceness of this thread and of the threads that it starts."""
    # On other systems niceness belongs to the whole process.
    if sys.platform == "linux":
        thread = threading.get_native_id()
        niceness = os.getpriority(os.PRIO_PROCESS, thread) + LOW_PRIORITY_NICENESS
        os.setpriority(os.PRIO_PROCESS, thread, min(niceness, MAX_NICENESS))
