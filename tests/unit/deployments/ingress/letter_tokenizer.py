"""A tokenizer stage whose ids are the code points of a text; a model reads eight of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deployments.rpc.pickled_rows import PickledRows
from deployments.rpc.replica_name import ReplicaStats
from embedder.chunking.late import windows
from embedder.chunking.request import Chunk, ChunkOptions, ChunkTable, SplitTexts
from embedder.chunking.texts import split_texts
from embedder.core.errors import InvalidInput
from embedder.core.pairs import ChunkTokens, Pair, PairRow
from embedder.core.types import Input, TokenBatch, Tokenized, Truncate
from embedder.inference.residency import LoadState, ModelState
from embedder.inference.tokenization import OffsetToken
from embedder.settings.model import ModelSettings
from tests.unit.chunking.tokenizers import Rules

MAX_TOKENS = 8
VOCABULARY_SIZE = 1000
END = "[END]"
"""The special token with id 0 at the end of a text, in responses with special tokens."""

LOADED = ModelState(
    key=ModelSettings(name="/srv/secret/letters", alias="letters").key,
    state=LoadState.READY,
    bytes=7,
    in_use=1,
    pinned=True,
    idle_s=0.0,
    loading_s=None,
    load_s=1.5,
    error=None,
)


class LetterTokenizer:
    """Ids are code points; remembers what it was asked, but for what only sees it answer."""

    def __init__(self) -> None:
        self.calls: list[list[Input]] = []

    async def tokenize(
        self, model: ModelSettings, inputs: Sequence[Input], truncate: Truncate
    ) -> Tokenized:
        if inputs != ["ready"]:
            self.calls.append(list(inputs))
        rows = [_row(item) for item in inputs]
        cut = np.array([len(row) > MAX_TOKENS for row in rows], np.bool_)
        kept = {
            Truncate.END: slice(MAX_TOKENS),
            Truncate.START: slice(-MAX_TOKENS, None),
            Truncate.NONE: slice(None),
        }[truncate]
        cut &= truncate is not Truncate.NONE
        short = [
            PairRow(row.ids[kept], row.types[kept]) if isinstance(row, PairRow) else row[kept]
            for row in rows
        ]
        return Tokenized(TokenBatch.of(short), cut)

    async def tokenize_with_offsets(
        self, model: ModelSettings, texts: Sequence[str], add_special_tokens: bool
    ) -> list[PickledRows[OffsetToken]]:
        end = [OffsetToken(0, END, True, None, None)] if add_special_tokens else []
        rows = (
            [OffsetToken(ord(one), one, False, at, at + 1) for at, one in enumerate(text)] + end
            for text in texts
        )
        return [PickledRows.of(OffsetToken, row) for row in rows]

    async def split(
        self,
        model: ModelSettings,
        texts: Sequence[Input],
        options: ChunkOptions,
        prompt: str,
        most: int,
    ) -> ChunkTable:
        letters = Rules(lambda text: len(prompt + text))
        chunks = split_texts(texts, letters, options, most=most)
        windows = _windows(texts, chunks, prompt) if options.late else None
        return ChunkTable.of(SplitTexts(chunks, windows))

    async def decode(
        self, model: ModelSettings, rows: Sequence[Sequence[int]], skip_special_tokens: bool
    ) -> list[str]:
        for row, ids in enumerate(rows):
            for at, token in enumerate(ids):
                if not 0 <= token < VOCABULARY_SIZE:
                    raise InvalidInput(f"ids[{row}][{at}]", f"is {token}, which is no id")
        end = "" if skip_special_tokens else END
        return ["".join(chr(token) if token else end for token in ids) for ids in rows]

    async def stats(self) -> ReplicaStats[ModelState[str]]:
        return ReplicaStats("tokenizer-1", [LOADED])


def _row(item: Input) -> list[int] | PairRow:
    if isinstance(item, Pair):
        ids = np.array(list(map(ord, item.query + item.text)), np.int32)
        return PairRow(ids, np.repeat([0, 1], [len(item.query), len(item.text)]).astype(np.int8))
    assert not isinstance(item, ChunkTokens)
    return [ord(one) if isinstance(one, str) else one for one in item]


def _windows(
    texts: Sequence[Input], chunks: Sequence[Sequence[Chunk]], prompt: str
) -> list[ChunkTokens]:
    """Return the windows of all texts; a letter is a token, and no token is added."""
    assert not prompt
    found = []
    for text, of_text in zip(map(str, texts), chunks, strict=True):
        ids = np.array(list(map(ord, text)), np.int32)
        spans = np.array([(one.start, one.stop) for one in of_text], np.int64)
        for window in windows(spans, len(ids), MAX_TOKENS):
            own = spans[window.first : window.end] - window.start
            found.append(ChunkTokens(ids[window.start : window.stop], own.astype(np.int32)))
    return found
