"""What a model can do by its files, of which the weights are never read."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedder.core.outputs import Task, Tasks
from embedder.models import declared
from embedder.models.declared import declared_tasks
from embedder.settings.model import ModelSettings
from tests.tiny_models import write_json, write_modules

EMBEDS = frozenset({Task.EMBED})
CROSS_ENCODER = "BertForSequenceClassification"


def _written(folder: Path, architecture: str, **config: object) -> Path:
    write_json(folder / "config.json", {"architectures": [architecture], **config})
    return folder


@pytest.mark.parametrize(
    ("labels", "tasks"),
    [
        (["relevance"], frozenset({Task.RERANK, Task.CLASSIFY})),
        (["no", "yes"], frozenset({Task.CLASSIFY})),
    ],
)
def test_a_cross_encoder_ranks_with_one_label_and_classifies_with_any_number(
    tmp_path: Path, labels: list[str], tasks: Tasks
) -> None:
    named = {str(number): label for number, label in enumerate(labels)}
    directory = _written(tmp_path, CROSS_ENCODER, id2label=named)

    assert declared_tasks(ModelSettings(name=str(directory))) == tasks


def test_a_model_with_a_pooling_computes_vectors(tmp_path: Path) -> None:
    plain = _written(tmp_path, "BertModel")
    assert declared_tasks(ModelSettings(name=str(plain))) == EMBEDS

    cross_encoder = _written(tmp_path, CROSS_ENCODER)
    settings = ModelSettings(name=str(cross_encoder), pooling="mean")
    assert declared_tasks(settings) == EMBEDS


def test_a_model_of_the_catalogue_computes_vectors_wherever_its_files_are() -> None:
    assert declared_tasks(ModelSettings()) == EMBEDS
    assert declared_tasks(ModelSettings(name="BAAI/bge-large-en-v1.5")) == EMBEDS


def test_the_tasks_of_files_that_are_elsewhere_or_not_supported_are_unknown(tmp_path: Path) -> None:
    revision = "0" * 40
    assert declared_tasks(ModelSettings(name="someone/some-model", revision=revision)) is None
    assert declared_tasks(ModelSettings(name=str(tmp_path / "missing"))) is None

    write_modules(tmp_path, [("", "Transformer"), ("1", "WordWeights")])
    assert declared_tasks(ModelSettings(name=str(tmp_path))) is None


def test_files_that_cannot_be_read_are_unknown_and_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("config.json")

    monkeypatch.setattr(declared, "read_layout", refuse)

    assert declared_tasks(ModelSettings(name=str(tmp_path))) is None
    assert declared_tasks(ModelSettings()) == EMBEDS


def test_a_damaged_configuration_is_unknown_and_no_fault(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b"{\xff")

    assert declared_tasks(ModelSettings(name=str(tmp_path))) is None
