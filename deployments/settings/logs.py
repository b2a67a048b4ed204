"""What the service logs of its requests; their encoding is Serve's ``logging_config``."""

from __future__ import annotations

from pydantic import Field

from embedder.settings.tree import Settings


class LogSettings(Settings):
    """Which requests get a line in the log. A failed request always gets one."""

    slow_request_s: float | None = Field(
        10.0, gt=0, description="seconds from which a request is logged as slow; null: never"
    )
    access_ratio: float = Field(
        0.0, ge=0, le=1, description="share of all requests that are logged, chosen at random"
    )
    repeat_period_s: float = Field(
        300.0,
        gt=0,
        description="seconds in which the same warning or error is written once, and then counted",
    )
