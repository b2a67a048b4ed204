"""Peers that compute a drawn model on the same device: sentence-transformers, or transformers.

Both compute in the same narrow number format, by torch's fused attention, in padded batches of as
many tokens as ours.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from benchmarks.gpu_models import POSITIONS, Model, shape_of
from embedder.core.types import TokenBatch, Vectors

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
BEGIN, END = SPECIAL.index("[CLS]"), SPECIAL.index("[SEP]")


@dataclass(frozen=True)
class Peer:
    """A function that computes batches of inputs of one length, and its description."""

    name: str
    encode: Callable[[Sequence[TokenBatch]], Vectors]


def peer_of(model: Model, dtype: torch.dtype) -> Peer:
    """Return sentence-transformers with a model's weights, or transformers where it is not."""
    if importlib.util.find_spec("sentence_transformers") is None:
        version = importlib.metadata.version("transformers")
        return Peer(f"transformers {version}, tokens in", _transformers(model, dtype))
    version = importlib.metadata.version("sentence-transformers")
    return Peer(f"sentence-transformers {version}, text in", _sentences(model, dtype))


def _transformers(model: Model, dtype: torch.dtype) -> Callable[[Sequence[TokenBatch]], Vectors]:
    narrow = model.narrowed(dtype)

    @torch.inference_mode()
    def encode(batches: Sequence[TokenBatch]) -> Vectors:
        found = []
        for tokens in batches:
            ids = torch.from_numpy(tokens.ids.astype(np.int64)).view(len(tokens), -1)
            ids = ids.to(model.device)
            hidden = narrow(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
            found.append(model.pooled(hidden).cpu().numpy())
        return np.concatenate(found)

    return encode


def _sentences(model: Model, dtype: torch.dtype) -> Callable[[Sequence[TokenBatch]], Vectors]:
    from sentence_transformers import SentenceTransformer

    with TemporaryDirectory() as folder:
        _write(model, Path(folder))
        loaded: Any = SentenceTransformer(
            folder,
            device=str(model.device),
            local_files_only=True,
            model_kwargs={"dtype": dtype, "attn_implementation": "sdpa"},
        )

    def encode(batches: Sequence[TokenBatch]) -> Vectors:
        texts = [_text(row.tolist()) for tokens in batches for row in tokens.rows()]
        found: Vectors = loaded.encode(
            texts, batch_size=len(batches[0]), show_progress_bar=False, convert_to_numpy=True
        )
        return found

    return encode


def _write(model: Model, folder: Path) -> None:
    """Write a model, and a tokenizer whose words are the numbers of its ids."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = {word: at for at, word in enumerate(SPECIAL)}
    words |= {str(at): at for at in range(len(SPECIAL), shape_of(model.name)["words"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", BEGIN), ("[SEP]", END)]
    )
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), SPECIAL, strict=True))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=POSITIONS, **names
    ).save_pretrained(folder)
    model.eager.save_pretrained(folder)
    if model.decodes:  # the default is the mean of all tokens
        _write_last_token_pooling(folder, shape_of(model.name)["width"])


def _write_last_token_pooling(folder: Path, width: int) -> None:
    kinds = {"": "Transformer", "1_Pooling": "Pooling"}
    modules = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (path, kind) in enumerate(kinds.items())
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": width, "pooling_mode": "lasttoken"}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))


def _text(ids: list[int]) -> str:
    """Return the text whose tokens these are."""
    assert (ids[0], ids[-1]) == (BEGIN, END)
    return " ".join(map(str, ids[1:-1]))
