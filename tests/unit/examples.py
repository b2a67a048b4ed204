"""How often the tests with drawn input try: ``TEST_EXAMPLES=10`` makes it ten times as often."""

from __future__ import annotations

import os

TIMES = int(os.environ.get("TEST_EXAMPLES", "1"))
