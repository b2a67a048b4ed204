"""The digests of weights and tokenizers, and the digests that they must match."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from embedder.core.errors import UnsupportedModel, WeightsMismatch
from embedder.models.weights import SHARDS, WEIGHTS
from tests.tiny_models import write_json
from tests.unit.models.model_sources import (
    OTHER_REVISION,
    REVISION,
    ROW,
    FakeSources,
    digest_of,
    fill,
    open_files,
)

STATED = "config_sentence_transformers.json"
IDENTITY = "torch.nn.modules.linear.Identity"
TANH = "torch.nn.modules.activation.Tanh"


def _joined(*parts: str) -> str:
    return digest_of("\n".join(parts).encode())


def _shard(directory: Path, **shards: bytes) -> Path:
    """Put these shards in the place of the weights."""
    (directory / WEIGHTS).unlink(missing_ok=True)
    for name, content in shards.items():
        (directory / f"{name}.safetensors").write_bytes(content)
    placed = {name: f"{name}.safetensors" for name in reversed(shards)}
    write_json(directory / SHARDS, {"weight_map": placed})
    return directory


def _add_dense(directory: Path, activation: str, weights: bytes = b"dense") -> Path:
    modules = json.loads((directory / "modules.json").read_text())
    dense = {"path": "2_Dense", "type": "sentence_transformers.models.Dense"}
    write_json(directory / "modules.json", [*modules[:2], dense])
    write_json(directory / "2_Dense" / "config.json", {"activation_function": activation})
    (directory / "2_Dense" / WEIGHTS).write_bytes(weights)
    return directory


def test_the_row_s_digest_is_expected_wherever_its_revision_was_found(sources: FakeSources) -> None:
    for directory in (sources.fill_package(), sources.fill_hub_cache()):
        (directory / WEIGHTS).unlink()
        (directory / WEIGHTS).write_bytes(b"other")

        with pytest.raises(WeightsMismatch) as caught:
            _ = open_files("tiny").digest
        assert caught.value.args[1:] == (ROW.sha256, digest_of(b"other"))
        (directory / WEIGHTS).unlink()


def test_a_directory_named_like_a_row_must_match_its_digest(
    sources: FakeSources, tmp_path: Path
) -> None:
    (fill(tmp_path / "tiny") / WEIGHTS).write_bytes(b"other")

    with pytest.raises(WeightsMismatch):
        _ = open_files("tiny").digest
    assert open_files("tiny", revision=OTHER_REVISION).digest == digest_of(b"other")
    assert open_files(tmp_path / "tiny").digest == digest_of(b"other")


def test_the_row_s_digest_does_not_apply_to_another_revision(sources: FakeSources) -> None:
    snapshot = sources.fill_hub_cache(OTHER_REVISION)
    (snapshot / WEIGHTS).unlink()
    (snapshot / WEIGHTS).write_bytes(b"other")

    assert open_files("tiny", revision=OTHER_REVISION).digest == digest_of(b"other")


def test_a_configured_digest_takes_precedence_over_the_row(sources: FakeSources) -> None:
    directory = sources.fill_package()
    wanted = digest_of(b"retrained")

    with pytest.raises(WeightsMismatch) as caught:
        _ = open_files("tiny", sha256=wanted).digest
    assert caught.value.expected == wanted

    (directory / WEIGHTS).write_bytes(b"retrained")
    assert open_files("tiny", sha256=wanted).digest == wanted
    assert open_files("tiny", revision=REVISION, sha256=wanted).expected_sha256 == wanted


def test_a_row_without_a_digest_still_detects_a_damaged_blob(sources: FakeSources) -> None:
    sources.set_row(replace(ROW, sha256=None))
    snapshot = sources.fill_hub_cache()
    assert open_files("tiny").digest == digest_of(b"weights")

    (snapshot / WEIGHTS).resolve().write_bytes(b"damaged")

    with pytest.raises(WeightsMismatch):
        _ = open_files("tiny").digest


def test_the_digest_of_shards_is_that_of_their_digests_by_name(tiny: Path) -> None:
    files = open_files(_shard(tiny, a=b"1", b=b"2"))

    assert files.weights == (tiny / "a.safetensors", tiny / "b.safetensors")
    assert files.digest == _joined(digest_of(b"1"), digest_of(b"2"))


def test_the_pinned_digest_is_that_of_the_first_shard(tiny: Path) -> None:
    _shard(tiny, a=b"1", b=b"2")

    assert open_files(tiny, sha256=digest_of(b"1")).digest == open_files(tiny).digest
    with pytest.raises(WeightsMismatch):
        _ = open_files(tiny, sha256=digest_of(b"2")).digest


def test_every_weight_file_must_match_the_digest_of_the_hub(tiny: Path, tmp_path: Path) -> None:
    _add_dense(_shard(tiny, a=b"1", b=b"2"), TANH)
    whole = open_files(tiny).digest
    for name in ("a.safetensors", "b.safetensors", f"2_Dense/{WEIGHTS}"):
        content = (tiny / name).read_bytes()
        blob = tmp_path / digest_of(content)
        (tiny / name).rename(blob)
        (tiny / name).symlink_to(blob)
        assert open_files(tiny).digest == whole

        blob.write_bytes(b"damaged")

        with pytest.raises(WeightsMismatch, match=name):
            _ = open_files(tiny).digest
        blob.write_bytes(content)


def test_the_digest_has_the_dense_modules_and_their_activations_in_it(tiny: Path) -> None:
    _add_dense(tiny, TANH)
    digest = open_files(tiny).digest
    assert digest == _joined(digest_of(b"weights"), digest_of(b"dense"), "tanh")

    assert open_files(_add_dense(tiny, IDENTITY)).digest != digest
    assert open_files(_add_dense(tiny, TANH, b"other")).digest != digest
    assert open_files(_add_dense(tiny, TANH)).digest == digest


@pytest.mark.parametrize(
    ("remove", "problem"),
    [(WEIGHTS, "no other format is read"), (f"2_Dense/{WEIGHTS}", "cannot be read")],
)
def test_weights_that_are_missing_are_named(tiny: Path, remove: str, problem: str) -> None:
    (_add_dense(tiny, TANH) / remove).unlink()

    with pytest.raises(UnsupportedModel, match=problem):
        _ = open_files(tiny).digest


def test_the_tokenizer_s_digest_covers_text_preparation(tiny: Path) -> None:
    digests = {open_files(tiny).tokenizer_digest}

    write_json(tiny / "sentence_bert_config.json", {"do_lower_case": True})
    assert open_files(tiny).lower_case is True
    digests.add(open_files(tiny).tokenizer_digest)
    for name in ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"):
        write_json(tiny / name, {})
        digests.add(open_files(tiny).tokenizer_digest)

    assert len(digests) == 5


def test_a_missing_tokenizer_is_named_with_a_command_that_writes_it(tiny: Path) -> None:
    (tiny / "tokenizer.json").unlink()

    for name in ("tokenizer_digest", "tokenizer_files"):
        with pytest.raises(UnsupportedModel) as caught:
            getattr(open_files(tiny), name)

        sentence = str(caught.value)
        assert sentence.startswith(f"{tiny / 'tokenizer.json'} does not exist")
        assert f"AutoTokenizer as A; A.from_pretrained('{tiny}').save_pretrained(" in sentence
