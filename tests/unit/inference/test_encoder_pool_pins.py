"""Which models several stages keep: lists that change, loads that fail, what a load takes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from embedder.core.errors import ConfigurationError, ModelDrift, UnsupportedModel
from embedder.core.types import Truncate
from embedder.inference.local import LocalTokenizer
from embedder.inference.tokenizer_pool import TokenizerPool
from embedder.models import weights
from embedder.models.catalogue import find_row
from embedder.settings.model import EmbedderSettings, ModelSettings, PoolSettings
from tests.unit.fake_device import ids
from tests.unit.inference.fake_loads import (
    BYTES,
    Loads,
    encode,
    encoders,
    expected,
    happened,
    pinned,
    ready,
)

Models = dict[str, ModelSettings]


async def test_a_changed_list_keeps_the_old_models_until_the_new_are_there(
    models: Models, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = encoders(monkeypatch, loads)
    await many.pin([models["a"], models["b"]])
    loads.block()
    changing = asyncio.ensure_future(many.pin([models["b"], models["c"]]))
    await happened(loads.entered)
    meanwhile = pinned(many)
    answer = await encode(many, models["a"], 1)
    loads.gate.set()
    await changing

    assert meanwhile == {"a", "b"}
    assert answer == expected(1)
    assert pinned(many) == {"b", "c"}
    assert ready(many) == {"a", "b", "c"}, "a is no longer pinned, but nothing needs its room"


async def test_the_same_list_again_loads_nothing(
    models: Models, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = encoders(monkeypatch, loads)
    await many.pin([models["a"], models["b"], models["a"]])
    await many.pin([models["b"], models["a"]])

    assert sorted(loads.names) == ["a", "b"]
    assert pinned(many) == {"a", "b"}


async def test_a_list_may_change_time_and_again(
    models: Models, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = encoders(monkeypatch, loads, room=2)
    for name in "abcdab":
        await many.pin([models[name]])

        assert pinned(many) == {name}


async def test_an_empty_list_lets_all_go(
    models: Models, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = encoders(monkeypatch, loads, room=1)
    await many.pin([models["a"]])
    await many.pin([])
    await encode(many, models["b"], 1)

    assert pinned(many) == set()
    assert ready(many) == {"b"}


@pytest.mark.parametrize("fault", [ModelDrift("x", "text", 0.1, 0.01), OSError("the disk")])
@pytest.mark.parametrize("broken", ["b", "c"])
async def test_a_model_that_fails_leaves_old_and_new_ones_pinned_and_can_be_tried_again(
    models: Models, loads: Loads, monkeypatch: pytest.MonkeyPatch, fault: Exception, broken: str
) -> None:
    many = encoders(monkeypatch, loads)
    await many.pin([models["a"]])
    loads.faults[broken] = fault
    with pytest.raises(type(fault)):
        await many.pin([models["b"], models["c"]])
    after_failure = pinned(many)
    del loads.faults[broken]
    await many.pin([models["b"], models["c"]])

    assert after_failure == {"a", "b", "c"} - {broken}
    assert pinned(many) == {"b", "c"}


async def test_a_change_that_is_given_up_leaves_the_old_ones_pinned(
    models: Models, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = encoders(monkeypatch, loads)
    await many.pin([models["a"]])
    loads.block()
    changing = asyncio.ensure_future(many.pin([models["b"]]))
    await happened(loads.entered)
    changing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await changing
    loads.gate.set()
    kept = pinned(many)
    await many.pin([models["c"]])

    assert kept == {"a"}
    assert pinned(many) == {"c"}


async def test_two_changes_at_once_end_with_the_later_list(
    models: Models, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = encoders(monkeypatch, loads)
    await asyncio.gather(many.pin([models["a"], models["b"]]), many.pin([models["b"], models["c"]]))
    after_both = pinned(many)
    await many.pin([])

    assert after_both == {"b", "c"}
    assert pinned(many) == set(), "b was not pinned twice"


async def test_settings_that_load_the_same_share_a_model_and_the_last_ones_are_used(
    models: Models, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator who mends ``offline`` must not have to start anew."""
    many = encoders(monkeypatch, loads)
    offline = models["a"].model_copy(update={"offline": True, "pinned": True})
    loads.faults["a"] = UnsupportedModel("not there")
    with pytest.raises(UnsupportedModel):
        await many.describe(offline)
    del loads.faults["a"]
    await many.describe(models["a"])
    await many.describe(offline)

    assert [model.offline for model in loads.asked] == [True, False]
    assert len(many.states()) == 1


async def test_room_is_made_by_the_size_of_the_files(
    models: Models, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = encoders(monkeypatch, loads)
    loads.block()
    call = asyncio.ensure_future(many.describe(models["a"]))
    await happened(loads.entered)
    (loading,) = many.states()
    loads.gate.set()
    await call

    assert (loading.state, loading.bytes) == ("loading", BYTES)


async def test_to_know_a_size_the_loop_never_asks_the_hub(
    loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def snapshot(wanted: object, *, local_files_only: bool) -> str:
        asked.append(local_files_only)
        return "not there"

    monkeypatch.setattr(weights, "_snapshot", snapshot)
    many = encoders(monkeypatch, loads)
    loads.block()
    known = asyncio.ensure_future(many.describe(ModelSettings(name="all-mpnet-base-v2")))
    await happened(loads.entered)
    unknown = ModelSettings(name="someone/else", revision="a" * 40)
    other = asyncio.ensure_future(many.describe(unknown))
    await asyncio.sleep(0)
    sizes = [state.bytes for state in many.states()]
    loads.gate.set()
    await asyncio.gather(known, other)

    row = find_row("all-mpnet-base-v2")
    assert row is not None
    assert sizes == [4 * row.parameters, 0]
    assert set(asked) == {True}


async def test_tokenizers_of_several_models_read_as_their_models_do(
    models: Models, tmp_path: Path
) -> None:
    many = TokenizerPool(EmbedderSettings())
    short = models["a"].model_copy(update={"max_tokens": 4})
    whole, cut = await asyncio.gather(
        many.tokenize(models["a"], ["abcdef"], truncate=Truncate.END),
        many.tokenize(short, ["abcdef"], truncate=Truncate.END),
    )

    assert whole.tokens.ids.tolist() == ids("abcdef")
    assert cut.tokens.ids.tolist() == [*ids("abcdef")[:3], ids("abcdef")[-1]]
    assert (whole.truncated.tolist(), cut.truncated.tolist()) == ([False], [True])
    with pytest.raises(ConfigurationError):
        await many.tokenize(ModelSettings(name=str(tmp_path)), ["a"], truncate=Truncate.END)


async def test_a_tokenizer_is_kept_until_nobody_has_used_it_for_long(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    load = LocalTokenizer.load

    def counted(settings: ModelSettings) -> LocalTokenizer:
        loaded.append(Path(settings.name).name)
        return load(settings)

    monkeypatch.setattr(LocalTokenizer, "load", counted)
    many = TokenizerPool(EmbedderSettings(pool=PoolSettings(max_bytes=1, idle_unload_s=0.01)))
    await many.pin([models["b"]])
    for _ in range(3):
        await many.tokenize(models["a"], ["a"], truncate=Truncate.END)
    await asyncio.sleep(0.02)
    await many.unload_idle()
    for name in "ab":
        await many.tokenize(models[name], ["a"], truncate=Truncate.END)

    assert loaded == ["b", "a", "a"]
