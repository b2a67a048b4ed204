"""Model directories in the layout of sentence-transformers that are small enough for any test."""

from __future__ import annotations

import json
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
LETTERS = tuple(string.ascii_lowercase)
VOCABULARY = (*SPECIAL, *LETTERS, *(f"##{letter}" for letter in LETTERS))

BERT_CONFIG: Mapping[str, Any] = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "hidden_size": 32,
    "intermediate_size": 48,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 40,
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "type_vocab_size": 2,
    "vocab_size": len(VOCABULARY),
}
MODULES = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))


def write_json(path: Path, value: object) -> Path:
    """Write a value as JSON, making the folder that it goes into."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def write_layout(directory: Path, **config: object) -> Path:
    """Write every file of a tiny BERT but its weights; ``config`` overrides ``config.json``."""
    write_json(directory / "config.json", {**BERT_CONFIG, **config})
    write_json(directory / "sentence_bert_config.json", {"max_seq_length": 24})
    write_json(directory / "1_Pooling" / "config.json", {"pooling_mode_mean_tokens": True})
    modules = [
        {"idx": at, "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (path, kind) in enumerate(MODULES)
    ]
    write_json(directory / "modules.json", modules)
    _tokenizer().save(str(directory / "tokenizer.json"))
    return directory


def write_tiny_bert(directory: Path, **config: object) -> Path:
    """Write a BERT with random weights and return its directory.

    Every parameter is drawn, biases and norms too: none may be left out without a difference.
    """
    import torch
    from transformers import BertConfig, BertModel

    write_layout(directory, **config)
    model = BertModel(BertConfig(**{**BERT_CONFIG, **config}), add_pooling_layer=False)
    random = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=random) * 0.3)
    written = (directory / "config.json").read_text()
    model.save_pretrained(directory)
    (directory / "config.json").write_text(written)
    return directory


def _tokenizer() -> Tokenizer:
    vocabulary = {token: number for number, token in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
    )
    return tokenizer
