"""A tiny cross-encoder of each architecture, as transformers stores it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.tiny_architectures import ARCHITECTURES, write_encoder
from tests.tiny_models import PIECES, draw_parameters, write_json, write_tokenizer

KINDS = ("bert", "roberta", "xlm-roberta", "camembert", "mpnet", "distilbert")
"""The architectures whose scores are computed without padding."""

_PAIRS = {
    "bert": "[CLS] $A:0 [SEP] $B:1 [SEP]:1",
    "distilbert": "[CLS] $A:0 [SEP] $B:1 [SEP]:1",
    "modernbert": "[CLS] $A:0 [SEP] $B:0 [SEP]",
    "qwen3": "$A:0 $B:0 <|endoftext|>",
}
_ROBERTA_PAIR = "<s> $A:0 </s> </s> $B:0 </s>"


def write_cross_encoder(
    folder: Path,
    kind: str = "bert",
    *,
    labels: Sequence[str] = ("relevance",),
    max_tokens: int = 40,
    **config: object,
) -> Path:
    """Write a model with random weights and a tokenizer for pairs; return its directory."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    architecture = ARCHITECTURES[kind]
    write_encoder(folder, architecture)
    described = AutoConfig.for_model(
        architecture.kind,
        vocab_size=len(architecture.special) + len(PIECES),
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
        **{**architecture.numbers, **config},
    )
    model = draw_parameters(AutoModelForSequenceClassification.from_config(described))
    model.save_pretrained(folder)
    pair = _PAIRS.get(kind, _ROBERTA_PAIR)
    write_tokenizer(folder, architecture.special, architecture.template, pair)
    names = ["input_ids", *(["token_type_ids"] if kind == "bert" else []), "attention_mask"]
    padding = architecture.padding
    unknown = next(token for token in architecture.special if "unk" in token.lower())
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": max_tokens,
            "model_input_names": names,
            "pad_token": padding,
            "unk_token": unknown,
        },
    )
    (folder / "sentence_bert_config.json").unlink()
    return folder
