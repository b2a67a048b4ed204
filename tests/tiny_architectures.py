"""A tiny model of each supported architecture, in its published layout."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.tiny_models import (
    LETTERS,
    PIECES,
    draw_parameters,
    write_json,
    write_modules,
    write_tokenizer,
)

POSITIONS = 180
MAX_TOKENS = 150

_NUMBERS: Mapping[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "max_position_embeddings": POSITIONS,
}
_BERT_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
_ROBERTA_TOKENS = ("<s>", "<pad>", "</s>", "<unk>")
_T5_TOKENS = ("<pad>", "</s>", "<unk>")
_QWEN_TOKENS = ("<|endoftext|>", "<|unk|>")
_MEAN = "pooling_mode_mean_tokens"


@dataclass(frozen=True)
class Architecture:
    """An architecture with its configuration, its special tokens by id, and its modules.

    ``pooling`` are flags of a Pooling module. ``dense`` is the shape of a Dense module without
    bias and activation. ``packed`` says that it has a padding-free forward pass.
    """

    kind: str
    special: tuple[str, ...]
    template: str
    numbers: Mapping[str, Any] = field(default_factory=dict)
    pooling: tuple[str, ...] = (_MEAN,)
    dense: tuple[int, int] | None = None
    normalizes: bool = True
    packed: bool = False

    @property
    def padding(self) -> str:
        """Return the padding token."""
        return next((token for token in self.special if "pad" in token.lower()), self.special[0])


def _like_roberta(kind: str, **numbers: object) -> Architecture:
    return Architecture(
        kind,
        _ROBERTA_TOKENS,
        "<s> $A </s>",
        {**_NUMBERS, "pad_token_id": 1, "layer_norm_eps": 1e-5, **numbers},
        packed=True,
    )


ARCHITECTURES: Mapping[str, Architecture] = {
    "bert": Architecture("bert", _BERT_TOKENS, "[CLS] $A [SEP]", _NUMBERS, packed=True),
    "roberta": _like_roberta("roberta", type_vocab_size=1),
    "xlm-roberta": _like_roberta("xlm-roberta", type_vocab_size=1),
    "camembert": _like_roberta("camembert", type_vocab_size=1),
    "mpnet": _like_roberta("mpnet"),
    "distilbert": Architecture(
        "distilbert",
        _BERT_TOKENS,
        "[CLS] $A [SEP]",
        {
            "dim": 32,
            "hidden_dim": 48,
            "n_heads": 4,
            "n_layers": 3,
            "max_position_embeddings": POSITIONS,
        },
        normalizes=False,
        packed=True,
    ),
    "modernbert": Architecture(
        "modernbert",
        _BERT_TOKENS,
        "[CLS] $A [SEP]",
        {
            **_NUMBERS,
            "local_attention": 8,
            "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
            "pad_token_id": 0,
            "cls_token_id": 2,
            "bos_token_id": 2,
            "sep_token_id": 3,
            "eos_token_id": 3,
        },
        pooling=("pooling_mode_cls_token",),
    ),
    "t5": Architecture(
        "t5",
        _T5_TOKENS,
        "$A </s>",
        {
            "d_model": 32,
            "d_ff": 48,
            "d_kv": 8,
            "num_heads": 4,
            "num_layers": 3,
            "pad_token_id": 0,
            "eos_token_id": 1,
            "decoder_start_token_id": 0,
        },
        dense=(32, 24),
    ),
    "qwen3": Architecture(
        "qwen3",
        _QWEN_TOKENS,
        "$A <|endoftext|>",
        {
            **_NUMBERS,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "pad_token_id": 0,
            "eos_token_id": 0,
        },
        pooling=("pooling_mode_lasttoken",),
    ),
    "nomic_bert": Architecture(
        "nomic_bert", _BERT_TOKENS, "[CLS] $A [SEP]", {**_NUMBERS, "pad_token_id": 0}
    ),
}


def write_architecture(
    directory: Path, architecture: Architecture, *, max_shard_size: str = "1GB"
) -> Path:
    """Write a model with random weights as sentence-transformers lays it out."""
    write_encoder(directory, architecture, max_shard_size=max_shard_size)
    width = int(architecture.numbers.get("hidden_size", 32))
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
    write_pooling(directory / "1_Pooling", width, *architecture.pooling)
    if architecture.dense:
        write_dense(directory / "2_Dense", *architecture.dense)
        modules.append(("2_Dense", "Dense"))
    if architecture.normalizes:
        modules.append((f"{len(modules)}_Normalize", "Normalize"))
    write_modules(directory, modules)
    return directory


def write_encoder(folder: Path, architecture: Architecture, *, max_shard_size: str = "1GB") -> Path:
    """Write only the transformer and its tokenizer."""
    from transformers import AutoConfig, AutoModel, T5EncoderModel

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = len(architecture.special) + len(PIECES)
    numbers = {"vocab_size": vocabulary, **architecture.numbers}
    config = AutoConfig.for_model(architecture.kind, **numbers)
    model = T5EncoderModel(config) if architecture.kind == "t5" else AutoModel.from_config(config)
    draw_parameters(model).save_pretrained(folder, max_shard_size=max_shard_size)
    write_tokenizer(folder, architecture.special, architecture.template)
    described = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": MAX_TOKENS,
        "model_input_names": ["input_ids", "attention_mask"],
        "pad_token": architecture.padding,
        "unk_token": next(token for token in architecture.special if "unk" in token.lower()),
    }
    write_json(folder / "tokenizer_config.json", described)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": MAX_TOKENS})
    return folder


def write_pooling(folder: Path, width: int, *flags: str) -> Path:
    """Write a Pooling module in which these flags are set."""
    values = {"word_embedding_dimension": width, _MEAN: False, **dict.fromkeys(flags, True)}
    return write_json(folder / "config.json", values)


def write_dense(
    folder: Path,
    width: int,
    out: int,
    *,
    activation: str = "torch.nn.modules.linear.Identity",
    bias: bool = False,
) -> Path:
    """Write a Dense module with random weights."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    linear = draw_parameters(torch.nn.Linear(width, out, bias=bias))
    tensors = {f"linear.{name}": tensor.data for name, tensor in linear.named_parameters()}
    save_file(tensors, folder / "model.safetensors")
    config = {
        "in_features": width,
        "out_features": out,
        "bias": bias,
        "activation_function": activation,
    }
    return write_json(folder / "config.json", config)


def mixed_texts(architecture: Architecture, count: int = 40) -> list[str]:
    """Return ``count`` texts (at least 9) of many lengths, below and above the limit.

    One text contains the padding token.
    """
    source = random.Random(5)

    def words(letters: int) -> str:
        drawn = source.choices(LETTERS, k=letters)
        return " ".join("".join(drawn[at : at + 7]) for at in range(0, letters, 7))

    texts = ["", "a", "é", f"ab {architecture.padding} cd", words(MAX_TOKENS), words(400)]
    texts += [words(MAX_TOKENS - special) for special in (1, 2, 3)]
    return texts + [
        words(source.randint(1, 2 * MAX_TOKENS // 3)) for _ in range(count - len(texts))
    ]
