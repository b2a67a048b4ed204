"""The limits of the index."""

from __future__ import annotations

MAX_TOP_K = 1000
MAX_PAGE = 1000
OVERSAMPLE = 4
MIN_SAMPLE = 50
"""Diverse hits are chosen from `OVERSAMPLE` times ``top_k`` candidates, and from this many."""

MAX_DELETED = 10_000
"""Identities of the most recently deleted collections that a shard keeps."""

MAX_ID_BYTES = 255
MAX_NAME_CHARACTERS = 63
MAX_WIDTH = 65_536
MAX_METADATA_BYTES = 65_536
MAX_METADATA_DEPTH = 16
MAX_KEY_CHARACTERS = 256
"""Characters of one key in metadata, and so of one key in the path of a filter's field."""
MAX_QUERY_CHARACTERS = 65_536
"""Characters of a text whose words are searched."""
MAX_SPARSE_IDS = 65_536
"""Ids with a weight of one sparse vector, of a point or of a query."""
MAX_NORM = 1e18
"""Beyond this length, squared distances overflow float32 and FAISS finds nothing."""
