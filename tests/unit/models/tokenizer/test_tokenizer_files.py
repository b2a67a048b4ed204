"""Files beside ``tokenizer.json`` mean the same as in transformers, or are refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer

from embedder.core.errors import UnsupportedModel
from embedder.inference.loading import load_tokenizer
from embedder.models.tokenizer import transformers_tokenizer
from tests.tiny_models import VOCABULARY, write_json, write_tiny_bert
from tests.unit.backends.parity import assert_same, load, open_files, our_vectors, reference_vectors
from tests.unit.models.tokenizer.token_ids import our_ids, reference_ids

TEXTS = ["Some words", "CAFÉ ete", "a東京b", "a b [MASK] c <ent> d", "abc " * 30]
CUT = ["a b", "abc " * 30 + "Some words"]
ROWS = len(VOCABULARY) + 8


def _write(directory: Path, **config: object) -> Path:
    write_tiny_bert(directory, **config)
    pooling = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}
    write_json(directory / "1_Pooling" / "config.json", pooling)
    return directory


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a BERT with a few more embedding rows than vocabulary entries."""
    return _write(tmp_path_factory.mktemp("tokenizer"), vocab_size=ROWS)


@pytest.fixture
def model(written: Path, tmp_path: Path) -> Path:
    return shutil.copytree(written, tmp_path / "model")


def _write_files(model: Path, **files: Mapping[str, Any]) -> None:
    for name, content in files.items():
        write_json(model / f"{name}.json", content)


def _change(model: Path, change: Any) -> None:
    rust = Tokenizer.from_file(str(model / "tokenizer.json"))
    change(rust)
    rust.save(str(model / "tokenizer.json"))


@pytest.mark.parametrize("named", ["BertTokenizer", "BertTokenizerFast", None])
@pytest.mark.parametrize(
    "stated",
    [
        {},
        {"do_lower_case": False},
        {"do_lower_case": True, "strip_accents": False},
        {"strip_accents": True, "do_lower_case": False},
        {"tokenize_chinese_chars": False},
        {"cls_token": "[SEP]", "sep_token": "[CLS]"},
        {"unk_token": "a"},
        {"additional_special_tokens": ["<ent>"]},
        {"extra_special_tokens": ["<ent>"]},
        {"mask_token": {"__type": "AddedToken", "content": "[MASK]", "lstrip": True}},
        {"added_tokens_decoder": {str(len(VOCABULARY)): {"content": "<ent>", "special": True}}},
        {"model_max_length": 10**30},
    ],
)
def test_the_configuration_of_a_bert_tokenizer_is_applied(
    model: Path, stated: Mapping[str, Any], named: str | None
) -> None:
    _write_files(
        model, tokenizer_config={**stated, **({"tokenizer_class": named} if named else {})}
    )

    assert our_ids(model, TEXTS) == reference_ids(model, TEXTS)


@pytest.mark.parametrize(
    "stated",
    [
        {},
        {"do_lower_case": False, "add_prefix_space": True},
        {"mask_token": "<ent>"},
        {"bos_token": "[CLS]", "eos_token": "[SEP]", "add_eos_token": True},
        {"model_input_names": ["input_ids", "attention_mask"]},
    ],
)
def test_the_configuration_of_a_generic_tokenizer_is_applied(
    model: Path, stated: Mapping[str, Any]
) -> None:
    generic = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]"}
    _write_files(model, tokenizer_config={**generic, **stated})

    assert our_ids(model, TEXTS) == reference_ids(model, TEXTS)


def test_special_tokens_from_the_special_tokens_map_are_special(model: Path) -> None:
    _write_files(
        model,
        special_tokens_map={"mask_token": "[MASK]", "additional_special_tokens": ["<ent>"]},
        tokenizer_config={"tokenizer_class": "BertTokenizer"},
    )

    assert_same(our_vectors(model, TEXTS), reference_vectors(model, TEXTS))


def test_added_tokens_from_a_separate_file_are_added(model: Path) -> None:
    _write_files(model, added_tokens={"<ent>": len(VOCABULARY)})

    assert_same(our_vectors(model, TEXTS), reference_vectors(model, TEXTS))


def test_lower_case_of_the_module_overrides_that_of_the_tokenizer(model: Path) -> None:
    _write_files(
        model,
        tokenizer_config={"tokenizer_class": "BertTokenizer", "do_lower_case": False},
        sentence_bert_config={"max_seq_length": 24, "do_lower_case": True},
    )

    assert_same(our_vectors(model, TEXTS), reference_vectors(model, TEXTS))


def _truncate_left(rust: Tokenizer) -> None:
    rust.enable_truncation(20, direction="left")


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("named", ["BertTokenizer", "PreTrainedTokenizerFast"])
@pytest.mark.parametrize("plain", [True, False])
def test_truncation_on_the_left_equals_the_reference(
    model: Path, inside: bool, named: str, plain: bool
) -> None:
    stated: dict[str, object] = {"tokenizer_class": named, "pad_token": "[PAD]"}
    if inside:
        _change(model, _truncate_left)
    else:
        stated["truncation_side"] = "left"
    if not plain:
        stated["do_lower_case"] = False
    _write_files(model, tokenizer_config=stated)

    files = open_files(model)
    found = load_tokenizer(files).encode(CUT, truncate=files.tokenizer_files.truncation)

    assert found.truncated.tolist() == [False, True]
    assert our_ids(model, CUT) == reference_ids(model, CUT)


def test_an_unknown_truncation_side_is_refused(model: Path) -> None:
    stated = {"tokenizer_class": "PreTrainedTokenizerFast", "truncation_side": "up"}
    _write_files(model, tokenizer_config=stated)

    with pytest.raises(UnsupportedModel, match="'truncation_side' = 'up'; allowed: right, left"):
        _ = open_files(model).tokenizer_files


def test_the_truncation_side_of_the_configuration_overrides_that_of_the_tokenizer(
    model: Path,
) -> None:
    _change(model, _truncate_left)
    _write_files(model, tokenizer_config={"truncation_side": "right"})

    assert_same(our_vectors(model, TEXTS), reference_vectors(model, TEXTS))


@pytest.mark.parametrize("where", ["inside", "beside"])
def test_tokens_beyond_the_embedding_matrix_are_refused_by_name_and_number(
    tmp_path: Path, where: str
) -> None:
    model = write_tiny_bert(tmp_path / "model")
    if where == "inside":
        _change(model, lambda rust: rust.add_tokens([AddedToken("<ent>")]))
    else:
        _write_files(model, tokenizer_config={"additional_special_tokens": ["<ent>"]})

    with pytest.raises(UnsupportedModel) as caught:
        _ = open_files(model).tokenizer_files

    size = len(VOCABULARY)
    assert f"embedding matrix, which has {size} rows: '<ent>' has the id" in str(caught.value)


def test_a_default_token_that_the_model_lacks_is_read_as_text(tmp_path: Path) -> None:
    """BertTokenizer adds ``[MASK]``, which has no embedding here and fails in the reference."""
    model = _write(tmp_path / "model")
    _write_files(model, tokenizer_config={"do_lower_case": False})

    assert_same(our_vectors(model, TEXTS[:1]), reference_vectors(model, TEXTS[:1]))
    assert len(our_vectors(model, ["a [MASK] b"])) == 1


@pytest.mark.parametrize("key", ["vocab_size", "max_position_embeddings", "type_vocab_size"])
@pytest.mark.parametrize("change", [1, -1])
def test_a_table_of_another_size_than_configured_is_refused(
    model: Path, key: str, change: int
) -> None:
    path = model / "config.json"
    config = json.loads(path.read_text())
    rows = config[key]
    write_json(path, {**config, key: rows + change})

    with pytest.raises(UnsupportedModel, match=f"'{key}' = {rows + change}.* has {rows} rows"):
        load(model)


def test_a_child_process_builds_the_same_tokenizer(model: Path) -> None:
    assert transformers_tokenizer._build_in_child(model) == transformers_tokenizer._build(model)


@pytest.mark.parametrize("child", [True, False])
def test_a_tokenizer_that_transformers_refuses_is_refused_with_its_reason(
    model: Path, child: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write_files(model, tokenizer_config={"do_lower_case": False, "mask_token": 5})
    if child:
        monkeypatch.delitem(sys.modules, "torch")

    with pytest.raises(UnsupportedModel, match=r"builds no fast tokenizer .*: .*mask_token"):
        _ = open_files(model).tokenizer_files


def test_common_tokenizers_are_read_without_transformers() -> None:
    code = (
        "import sys; from embedder.settings.model import ModelSettings; "
        "from embedder.models.files import ModelFiles; "
        "from embedder.inference.loading import load_tokenizer; "
        "load_tokenizer(ModelFiles.open(ModelSettings(offline=True))); "
        "print('transformers' in sys.modules, 'torch' in sys.modules)"
    )
    printed = subprocess.check_output([sys.executable, "-c", code], text=True)

    assert printed.split()[0] == "False"


def test_token_types_are_used_unless_the_configuration_excludes_them(model: Path) -> None:
    assert open_files(model).tokenizer_files.gives_types
    _write_files(model, tokenizer_config={"model_input_names": ["input_ids"]})
    assert not open_files(model).tokenizer_files.gives_types
    _write_files(model, tokenizer_config={"tokenizer_class": "PreTrainedTokenizerFast"})
    assert not open_files(model).tokenizer_files.gives_types
