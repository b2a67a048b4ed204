"""A tokenizer replica: several models, each with its own vocabulary and its own limit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deployments.settings.service import ServeSettings
from deployments.tokenizer.replica import TokenizerReplica
from embedder.chunking.request import Chunk, ChunkOptions
from embedder.core.errors import ConfigurationError, LimitExceeded
from embedder.core.types import Truncate
from embedder.settings.model import ModelSettings
from tests.tiny_models import SPECIAL, VOCABULARY, write_tiny_bert, write_tokenizer
from tests.unit.inference.fake_loads import clock_of
from tests.unit.waiting import until

REVERSED = tuple(reversed(SPECIAL))
"""The special tokens of the second model, whose ids are those of the first one turned around."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelSettings, ModelSettings]:
    """Return two models whose tokens have different ids."""
    root = tmp_path_factory.mktemp("models")
    for name in ("one", "two"):
        (root / name).mkdir()
        write_tiny_bert(root / name)
    write_tokenizer(root / "two", REVERSED, "[CLS] $A [SEP]")
    return _model(root / "one"), _model(root / "two", max_tokens=4)


def _model(directory: Path, **fields: Any) -> ModelSettings:
    return ModelSettings(name=str(directory), offline=True, **fields)


def _config(*models: ModelSettings) -> dict[str, Any]:
    return {"models": [model.model_dump(mode="json") for model in models]}


async def _ids(replica: TokenizerReplica, model: ModelSettings, text: str) -> list[int]:
    answer = await replica.tokenize(model, [text], Truncate.END)
    ids: list[int] = answer.tokens.ids.tolist()
    return ids


async def test_a_replica_tokenizes_with_the_model_of_the_call(
    models: tuple[ModelSettings, ModelSettings],
) -> None:
    replica = TokenizerReplica(ServeSettings())
    await replica.reconfigure(_config(*models))
    first, second = [await _ids(replica, model, "b") for model in models]

    assert first == [VOCABULARY.index(token) for token in ("[CLS]", "b", "[SEP]")]
    assert [(one.name, one.waiting, one.running) for one in (await replica.stats()).queues] == [
        ("tokenizer", 0, 0)
    ]
    assert second == [REVERSED.index("[CLS]"), VOCABULARY.index("b"), REVERSED.index("[SEP]")]


async def test_inputs_are_truncated_to_the_limit_of_their_model(
    models: tuple[ModelSettings, ModelSettings],
) -> None:
    replica = TokenizerReplica(ServeSettings())
    await replica.reconfigure(_config(*models))
    answers = [await replica.tokenize(one, ["a b c d"], Truncate.END) for one in models]

    assert [answer.tokens.lengths.tolist() for answer in answers] == [[6], [4]]
    assert [answer.truncated.tolist() for answer in answers] == [[False], [True]]


async def test_pieces_and_decoding_use_the_model_of_the_call(
    models: tuple[ModelSettings, ModelSettings],
) -> None:
    replica = TokenizerReplica(ServeSettings())
    await replica.reconfigure(_config(*models))
    first, second = models
    (tokens,) = await replica.tokenize_with_offsets(second, ["a b c d"], True)

    assert [token.text for token in tokens] == ["[CLS]", "a", "b", "c", "d", "[SEP]"]
    assert [token.id for token in tokens][::5] == [REVERSED.index("[CLS]"), REVERSED.index("[SEP]")]
    ids = [[token.id for token in tokens]]
    assert await replica.decode(second, ids, False) == ["[CLS] a b c d [SEP]"]
    assert await replica.decode(first, ids, False) == ["[UNK] a b c d [PAD]"]
    assert await replica.decode(second, ids, True) == ["a b c d"]
    assert len((await replica.tokenize_with_offsets(first, ["a"], False))[0]) == 1


async def test_texts_are_split_by_the_model_of_the_call(
    models: tuple[ModelSettings, ModelSettings],
) -> None:
    replica = TokenizerReplica(ServeSettings())
    await replica.reconfigure(_config(*models))
    given = ["a b c d a b c d", " b "], ChunkOptions(8, 2)
    first, second = [await replica.split(one, *given, "", 4) for one in models]

    assert first.split().chunks == [[Chunk(0, 11, 8), Chunk(8, 15, 6)], [Chunk(1, 2, 3)]]
    assert second.split() == first.split()
    with pytest.raises(LimitExceeded, match=r"'input\[1\]' has 3 or more chunks, .* is 2"):
        await replica.split(models[0], *given, "", 2)


async def test_a_replica_that_cannot_load_its_first_model_does_not_start(tmp_path: Path) -> None:
    replica = TokenizerReplica(ServeSettings())

    with pytest.raises(ConfigurationError):
        await replica.reconfigure(_config(_model(tmp_path / "missing")))


async def test_a_change_that_cannot_be_loaded_keeps_the_present_models(
    models: tuple[ModelSettings, ModelSettings], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    replica = TokenizerReplica(ServeSettings())
    await replica.reconfigure(_config(models[0]))
    await replica.reconfigure(_config(_model(tmp_path / "missing")))
    await until(lambda: "the pinned models stay unchanged" in caplog.text)

    assert len(await _ids(replica, models[0], "b")) == 3


async def test_an_idle_tokenizer_is_unloaded_and_loaded_again_on_demand(
    models: tuple[ModelSettings, ModelSettings],
) -> None:
    replica = TokenizerReplica(ServeSettings.model_validate({"pool": {"idle_unload_s": 60}}))
    clock = clock_of(replica._tokenizers)
    await replica.reconfigure(_config(*models))
    ids = await _ids(replica, models[1], "b")
    clock.now = 61.0
    await replica.check_health()
    told = await replica.stats()

    assert told.replica == "local"
    assert [(one.key, one.state, one.pinned) for one in told.models] == [
        (models[0].key, "ready", True)
    ]
    assert await _ids(replica, models[1], "b") == ids
