"""Token vectors beside sentence-transformers' MultiVectorEncoder and the formula of ColBERT."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from embedder.backends.torch.backend import TorchBackend
from embedder.core.errors import InvalidInput, UnsupportedModel
from embedder.core.outputs import OutputKind, RaggedRows
from embedder.core.types import Truncate, Vectors
from embedder.inference.loading import load_tokenizer
from tests.tiny_models import write_json
from tests.tiny_retrieval_models import (
    EXPANSION,
    MARKERS,
    PUNCTUATION,
    write_colbert,
    write_multi_vector,
)
from tests.unit.backends.parity import FLOAT32, open_files

TEXTS = ["hello, world!", "a b c " * 30, "x.", "", ".", "hello hello"]
PASSES = ("bert", "xlm-roberta", "mpnet", "distilbert", "modernbert")


def our_vectors(
    directory: Path, texts: list[str], kind: str, **model: object
) -> tuple[list[Vectors], list[bool]]:
    """Return the token vectors of texts behind the prompt of a kind, and which were cut."""
    files = open_files(directory, **model)
    backend = TorchBackend.load(files, FLOAT32)
    prompt = files.prompts.get(kind, "")
    tokenized = load_tokenizer(files).encode(
        [prompt + text for text in texts], truncate=Truncate.END
    )
    rows = backend.compute(tokenized.tokens, backend.outputs)[OutputKind.TOKENS]
    assert isinstance(rows, RaggedRows)
    assert rows.width == backend.token_width == backend.width
    return [row.values for row in rows.split()], tokenized.truncated.tolist()


def expected_vectors(directory: Path, texts: list[str], kind: str) -> list[Vectors]:
    from sentence_transformers import MultiVectorEncoder

    model = MultiVectorEncoder(str(directory), device="cpu", local_files_only=True)
    encode = model.encode_query if kind == "query" else model.encode_document
    found = encode(texts, convert_to_numpy=True, show_progress_bar=False)
    return list(found)


def assert_same_rows(found: list[Vectors], expected: list[Vectors]) -> None:
    assert [row.shape for row in found] == [row.shape for row in expected]
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("architecture", PASSES)
def test_vectors_are_those_of_sentence_transformers(tmp_path: Path, architecture: str) -> None:
    expanded = {"query_expansion": EXPANSION}
    directory = write_multi_vector(tmp_path, architecture, transformer=expanded)

    for kind in ("query", "document"):
        found, _ = our_vectors(directory, TEXTS, kind)
        assert_same_rows(found, expected_vectors(directory, TEXTS, kind))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"query_length": 6, "document_length": 9},
        {"query_expansion": {**EXPANSION, "attend": True}},
        {"query_expansion": {**EXPANSION, "strategy": "min"}, "query_length": 14},
        {"query_expansion": {**EXPANSION, "token": "[unused0]"}, "document_length": 60},
    ],
)
@pytest.mark.parametrize("skipping", [("document",), ("query", "document")])
def test_every_option_is_computed(
    tmp_path: Path, options: dict[str, object], skipping: tuple[str, ...]
) -> None:
    directory = write_multi_vector(tmp_path, skipping=skipping, transformer=options)

    for kind in ("query", "document"):
        found, _ = our_vectors(directory, TEXTS, kind)
        assert_same_rows(found, expected_vectors(directory, TEXTS, kind))


@pytest.mark.parametrize("metadata", [{}, {"query_maxlen": 9, "doc_maxlen": 20}])
@pytest.mark.parametrize("attend", [True, False])
def test_files_of_colbert_give_the_vectors_of_sentence_transformers(
    tmp_path: Path, metadata: dict[str, object], attend: bool
) -> None:
    directory = write_colbert(tmp_path, attend_to_mask_tokens=attend, **metadata)

    for kind in ("query", "document"):
        found, _ = our_vectors(directory, TEXTS, kind)
        assert_same_rows(found, expected_vectors(directory, TEXTS, kind))


def test_files_of_pylate_give_the_vectors_of_sentence_transformers(tmp_path: Path) -> None:
    directory = write_multi_vector(tmp_path)
    modules = [
        {"path": "", "type": "sentence_transformers.models.Transformer"},
        {"path": "1_Dense", "type": "pylate.models.Dense.Dense"},
    ]
    entries = [{"idx": at, "name": str(at), **module} for at, module in enumerate(modules)]
    write_json(directory / "modules.json", entries)
    old = {"query_prefix": "[unused0] ", "document_prefix": "[unused1] ", "query_length": 12}
    write_json(
        directory / "config_sentence_transformers.json",
        {"model_type": "ColBERT", "document_length": 30, **old},
    )

    for kind in ("query", "document"):
        found, _ = our_vectors(directory, TEXTS, kind)
        assert_same_rows(found, expected_vectors(directory, TEXTS, kind))


def test_vectors_are_those_of_the_formula_of_colbert(tmp_path: Path) -> None:
    """Follow the paper: [Q] and the query, filled with [MASK]; [D] and a text, no punctuation."""
    from transformers import BertModel

    directory = write_colbert(tmp_path, query_maxlen=12)
    files = open_files(directory)
    weights = load_file(directory / "model.safetensors")
    encoder = BertModel.from_pretrained(directory, attn_implementation="eager").eval()

    def vectors(ids: list[int], mask: list[int]) -> Vectors:
        with torch.inference_mode():
            hidden = encoder(torch.tensor([ids]), torch.tensor([mask])).last_hidden_state[0]
            projected = hidden @ weights["linear.weight"].T
            unit: Vectors = torch.nn.functional.normalize(projected, dim=-1).numpy()
        return unit

    ids_of = files.tokenizer_files.ids_of
    cls, sep, mask_id, query, document = ids_of(["[CLS]", "[SEP]", "[MASK]", *MARKERS])
    skipped = ids_of(PUNCTUATION)
    text, ids = "ab, c", ids_of(["a", "##b", ",", "c"])
    asked, stored = [cls, query, *ids, sep], [cls, document, *ids, sep]
    filled = 12 - len(asked)
    as_query = vectors(asked + [mask_id] * filled, [1] * len(asked) + [0] * filled)
    as_document = vectors(stored, [1] * len(stored))
    kept = [at for at, token in enumerate(stored) if token not in skipped]

    assert_same_rows(our_vectors(directory, [text], "query")[0], [as_query])
    assert_same_rows(our_vectors(directory, [text], "document")[0], [as_document[kept]])
    assert len(kept) == len(stored) - 1


def test_an_input_alone_has_the_same_vectors(tmp_path: Path) -> None:
    directory = write_multi_vector(tmp_path, transformer={"query_expansion": EXPANSION})

    for kind in ("query", "document"):
        together, _ = our_vectors(directory, TEXTS, kind)
        for text, row in zip(TEXTS, together, strict=True):
            np.testing.assert_allclose(our_vectors(directory, [text], kind)[0][0], row, atol=1e-5)


def test_a_query_above_its_length_is_cut_or_refused(tmp_path: Path) -> None:
    directory = write_multi_vector(tmp_path, transformer={"query_length": 6})
    files = open_files(directory)
    tokenizer = load_tokenizer(files)
    exact, above = "q a b c", "q a b c d"

    assert our_vectors(directory, ["a b c", "a b c d"], "query")[1] == [False, True]
    assert tokenizer.encode([exact], truncate=Truncate.NONE).tokens.lengths.tolist() == [6]
    with pytest.raises(InvalidInput, match="has 7 tokens; the limit is 6"):
        tokenizer.encode([above], truncate=Truncate.NONE)
    start = tokenizer.encode([above], truncate=Truncate.START)
    ids = files.tokenizer_files.ids_of(["[CLS]", "q", "b", "c", "d", "[SEP]"])
    assert (start.tokens.ids.tolist(), start.truncated.tolist()) == (ids, [True])


def test_a_query_is_filled_up_to_at_most_the_limit_of_the_model(tmp_path: Path) -> None:
    directory = write_multi_vector(tmp_path, transformer={"query_expansion": EXPANSION})
    found, cut = our_vectors(directory, ["x", "x " * 30], "query", max_tokens=7)

    assert [len(row) for row in found] == [7, 7]
    assert cut == [False, True]


def test_token_ids_are_those_of_a_document(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(open_files(write_multi_vector(tmp_path)))
    text = tokenizer.encode(["d a, b"], truncate=Truncate.END).tokens

    ids = tokenizer.encode([text.ids.tolist()], truncate=Truncate.END).tokens

    assert text.types is not None
    assert ids.types is not None
    assert (ids.types.tolist(), ids.ids.tolist()) == (text.types.tolist(), text.ids.tolist())


@pytest.mark.parametrize(
    ("prompts", "expansion", "skipping", "refused"),
    [
        (("", ""), None, ("document",), True),
        (("q ", "q d "), None, ("document",), True),
        (("", ""), EXPANSION, ("query", "document"), True),
        (("", ""), None, ("query", "document"), False),
        (("q ", ""), EXPANSION, ("document",), False),
    ],
)
def test_queries_must_be_told_from_documents_that_are_read_differently(
    tmp_path: Path,
    prompts: tuple[str, str],
    expansion: dict[str, object] | None,
    skipping: tuple[str, ...],
    refused: bool,
) -> None:
    options: dict[str, object] = {"query_expansion": expansion}
    directory = write_multi_vector(
        tmp_path, prompts=prompts, skipping=skipping, transformer=options
    )
    files = open_files(directory)
    if not refused:
        load_tokenizer(files)
        return
    with pytest.raises(UnsupportedModel, match="has no prompt by which they differ"):
        load_tokenizer(files)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"query_expansion": {"strategy": "all", "length": 3}}, "its strategy is 'fixed' or 'min'"),
        ({"query_expansion": {"strategy": "min"}}, "length above 0"),
        ({"query_expansion": {"strategy": "min", "length": 3, "x": 1}}, "its keys are attend"),
        ({"document_length": 0}, "'document_length' = 0; it must be a whole number"),
    ],
)
def test_unknown_options_are_refused(
    tmp_path: Path, options: dict[str, object], problem: str
) -> None:
    with pytest.raises(UnsupportedModel, match=problem):
        open_files(write_multi_vector(tmp_path, transformer=options))


def test_an_unknown_token_that_fills_up_is_refused(tmp_path: Path) -> None:
    options = {"query_expansion": {**EXPANSION, "token": "[FILL]"}}
    files = open_files(write_multi_vector(tmp_path, transformer=options))

    with pytest.raises(UnsupportedModel, match=r"filled up with '\[FILL\]', which the tokenizer"):
        load_tokenizer(files)
