"""Tiny models of sparse weights and of token vectors, in their published layouts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.tiny_architectures import ARCHITECTURES, Architecture, write_encoder
from tests.tiny_models import (
    MODULES,
    PIECES,
    draw_parameters,
    write_json,
    write_modules,
    write_tokenizer,
)

PUNCTUATION = (".", ",", "!")
MARKERS = ("[unused0]", "[unused1]")

IDENTITY = "torch.nn.modules.linear.Identity"
EXPANSION = {"strategy": "fixed", "attend": False, "length": 12}


def write_splade(
    folder: Path,
    kind: str = "bert",
    *,
    pooling: str | None = "max",
    activation: str = "relu",
    tied: bool = True,
) -> Path:
    """Write a masked language model, with ``pooling`` as a SparseEncoder; return its directory."""
    from transformers import AutoModelForMaskedLM

    _write_transformer(folder, kind, AutoModelForMaskedLM, tie_word_embeddings=tied)
    if pooling is None:
        return folder
    options = {"pooling_strategy": pooling, "activation_function": activation}
    write_json(folder / "1_SpladePooling" / "config.json", options)
    write_json(folder / "sentence_bert_config.json", {"transformer_task": "fill-mask"})
    modules = [
        ("", "base.modules.transformer.Transformer"),
        ("1_SpladePooling", "sparse_encoder.modules.splade_pooling.SpladePooling"),
    ]
    return _write_modules(folder, "SparseEncoder", modules)


def write_multi_vector(
    folder: Path,
    kind: str = "bert",
    *,
    prompts: tuple[str, str] = ("q ", "d "),
    skipped: Sequence[str] = PUNCTUATION,
    skipping: Sequence[str] = ("document",),
    transformer: dict[str, Any] | None = None,
) -> Path:
    """Write a MultiVectorEncoder with a projection; return its directory."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModel

    _write_transformer(folder, kind, AutoModel)
    weight = torch.randn(16, 32, generator=torch.Generator().manual_seed(3))
    level = {"module_input_name": "token_embeddings", "module_output_name": "token_embeddings"}
    sizes = {"in_features": 32, "out_features": 16, "bias": False}
    write_json(
        folder / "1_Dense" / "config.json", {**sizes, **level, "activation_function": IDENTITY}
    )
    save_file({"linear.weight": weight}, folder / "1_Dense" / "model.safetensors")
    mask = {"skiplist_words": list(skipped), "skiplist_tasks": list(skipping)}
    write_json(folder / "2_MultiVectorMask" / "config.json", mask)
    write_json(folder / "3_Normalize" / "config.json", level)
    write_json(folder / "sentence_bert_config.json", transformer or {})
    modules = [
        ("", "base.modules.transformer.Transformer"),
        ("1_Dense", "base.modules.dense.Dense"),
        ("2_MultiVectorMask", "multi_vector_encoder.modules.multi_vector_mask.MultiVectorMask"),
        ("3_Normalize", "base.modules.normalize.Normalize"),
    ]
    named = dict(zip(("query", "document"), prompts, strict=True))
    return _write_modules(folder, "MultiVectorEncoder", modules, prompts=named)


def write_colbert(folder: Path, **metadata: object) -> Path:
    """Write a model as ColBERT stores it, with ``artifact.metadata``; return its directory."""
    import json

    import torch
    from safetensors.torch import load_file, save_file
    from transformers import AutoModel

    _write_transformer(folder, "bert", AutoModel)
    weights = {f"bert.{key}": value for key, value in load_file(_weights(folder)).items()}
    weights["linear.weight"] = torch.randn(16, 32, generator=torch.Generator().manual_seed(3))
    save_file(weights, _weights(folder), {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", {**config, "architectures": ["HF_ColBERT"]})
    write_json(folder / "artifact.metadata", metadata)
    (folder / "sentence_bert_config.json").unlink()
    return folder


def write_bge_m3(folder: Path, *, seed: int = 3, **numbers: object) -> Path:
    """Write an XLM-R with three heads as BGE-M3 has them, as safetensors; return its directory.

    ``numbers`` replace those of its configuration.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModel

    _write_transformer(folder, "xlm-roberta", AutoModel, **numbers)
    random = torch.Generator().manual_seed(seed)
    for name, rows in (("sparse_linear", 1), ("colbert_linear", 32)):
        head = {"weight": torch.randn(rows, 32, generator=random), "bias": torch.rand(rows)}
        save_file(head, folder / f"{name}.safetensors")
    write_json(folder / "1_Pooling" / "config.json", {"pooling_mode": "cls"})
    write_modules(folder, MODULES)
    return folder


def _write_transformer(folder: Path, kind: str, auto: Any, **numbers: object) -> None:
    """Write a model with random weights, and a tokenizer with punctuation and unused tokens."""
    from transformers import AutoConfig

    architecture = ARCHITECTURES[kind]
    write_encoder(folder, architecture)
    special = (*architecture.special, _mask(architecture), *MARKERS, *PUNCTUATION)
    config = AutoConfig.for_model(
        architecture.kind,
        **{**architecture.numbers, **numbers, "vocab_size": len(special) + len(PIECES)},
    )
    draw_parameters(auto.from_config(config)).save_pretrained(folder)
    write_tokenizer(folder, special, architecture.template)
    _declare_tokens(folder, architecture)


def _declare_tokens(folder: Path, architecture: Architecture) -> None:
    """Make the markers and the punctuation ordinary tokens, and name the special ones."""
    import json

    path = folder / "tokenizer.json"
    state = json.loads(path.read_text())
    ordinary = {*MARKERS, *PUNCTUATION}
    state["added_tokens"] = [
        token for token in state["added_tokens"] if token["content"] not in ordinary
    ]
    write_json(path, state)
    first, last = architecture.template.split(" $A ")
    special = architecture.special
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": 40,
            "cls_token": first,
            "eos_token": last,
            "sep_token": last,
            "pad_token": architecture.padding,
            "unk_token": next(token for token in special if "unk" in token.lower()),
            "mask_token": _mask(architecture),
        },
    )


def _mask(architecture: Architecture) -> str:
    return "<mask>" if "<s>" in architecture.special else "[MASK]"


def _weights(folder: Path) -> Path:
    return folder / "model.safetensors"


def _write_modules(
    folder: Path, kind: str, modules: Sequence[tuple[str, str]], **config: object
) -> Path:
    entries = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.{name}"}
        for at, (path, name) in enumerate(modules)
    ]
    write_json(folder / "modules.json", entries)
    write_json(folder / "config_sentence_transformers.json", {"model_type": kind, **config})
    return folder
