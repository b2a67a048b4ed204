"""The factor on the number of hypothesis examples, from the variable ``TEST_EXAMPLES``."""

from __future__ import annotations

import os

TIMES = int(os.environ.get("TEST_EXAMPLES", "1"))
