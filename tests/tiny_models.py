"""Model directories in the layout of sentence-transformers that are small enough for any test."""

from __future__ import annotations

import json
import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
LETTERS = tuple(string.ascii_lowercase)
PIECES = (*LETTERS, *(f"##{letter}" for letter in LETTERS))
VOCABULARY = (*SPECIAL, *PIECES)

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


def write_modules(directory: Path, modules: Sequence[tuple[str, str]]) -> Path:
    """Write ``modules.json`` from pairs of folder and type."""
    entries = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (path, kind) in enumerate(modules)
    ]
    return write_json(directory / "modules.json", entries)


def write_layout(directory: Path, **config: object) -> Path:
    """Write all files of a tiny BERT except its weights; ``config`` overrides ``config.json``."""
    write_json(directory / "config.json", {**BERT_CONFIG, **config})
    write_json(directory / "sentence_bert_config.json", {"max_seq_length": 24})
    write_json(directory / "1_Pooling" / "config.json", {"pooling_mode_mean_tokens": True})
    write_modules(directory, MODULES)
    return write_tokenizer(directory, SPECIAL, "[CLS] $A [SEP]")


def write_tiny_bert(directory: Path, **config: object) -> Path:
    """Write a BERT with random weights and return its directory."""
    from transformers import BertConfig, BertModel

    write_layout(directory, **config)
    model = BertModel(BertConfig(**{**BERT_CONFIG, **config}), add_pooling_layer=False)
    written = (directory / "config.json").read_text()
    draw_parameters(model).save_pretrained(directory)
    (directory / "config.json").write_text(written)
    return directory


def draw_parameters(model: Any, *, seed: int = 7) -> Any:
    """Draw every parameter at random, so that omitting one changes the output.

    Matrices preserve the scale of their input, so that the output depends on it.
    """
    import torch

    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            drawn = torch.randn(parameter.shape, generator=random)
            if parameter.dim() == 1:
                parameter.copy_(0.3 * drawn + (1 if name.endswith("weight") else 0))
            else:
                parameter.copy_(drawn if "embed" in name else 1.5 * drawn / len(drawn[0]) ** 0.5)
    return model


def write_tokenizer(
    directory: Path, special: Sequence[str], template: str, pair: str = "$A:0 $B:1"
) -> Path:
    """Write a tokenizer of letters whose first ids are the special tokens; return its directory.

    The templates place them around a text and a pair; the one that contains "unk" is the unknown
    token.
    """
    vocabulary = {token: number for number, token in enumerate((*special, *PIECES))}
    unknown = next(token for token in special if "unk" in token.lower())
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token=unknown))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.add_special_tokens(list(special))
    tokenizer.post_processor = TemplateProcessing(
        single=template,
        pair=pair,
        special_tokens=[(token, vocabulary[token]) for token in special if token in template],
    )
    tokenizer.save(str(directory / "tokenizer.json"))
    return directory
