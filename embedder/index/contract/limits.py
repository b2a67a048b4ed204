"""How large anything of the index may be. Knows nothing of how it is checked."""

from __future__ import annotations

MAX_TOP_K = 1000
MAX_PAGE = 1000
OVERSAMPLE = 4
MIN_SAMPLE = 50
"""Candidates from which diverse answers are chosen: so many times ``top_k``, and at least these."""

MAX_DELETED = 10_000
"""Identities of deleted collections that a shard keeps, the latest ones."""

MAX_ID_BYTES = 255
MAX_NAME_CHARACTERS = 63
MAX_WIDTH = 65_536
MAX_METADATA_BYTES = 65_536
MAX_METADATA_DEPTH = 16
MAX_KEY_CHARACTERS = 256
"""Of one key in metadata, and so of one key in the path of a filter's field."""
MAX_NORM = 1e18
"""Beyond this, squared distances overflow float32 and FAISS finds nothing."""
