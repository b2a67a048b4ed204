"""How large anything of the index may be. Knows nothing of how it is checked."""

from __future__ import annotations

MAX_TOP_K = 1000
MAX_PAGE = 1000
MAX_ID_BYTES = 255
MAX_NAME_CHARACTERS = 63
MAX_WIDTH = 65_536
MAX_METADATA_BYTES = 65_536
MAX_METADATA_DEPTH = 16
MAX_NORM = 1e18
"""Beyond this, squared distances overflow float32 and FAISS finds nothing."""
