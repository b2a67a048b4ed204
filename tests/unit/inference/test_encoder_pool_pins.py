"""Pins of encoder and tokenizer pools: changes, failing loads and size estimates."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from embedder.core.deadline import NEVER
from embedder.core.errors import ConfigurationError, ModelDrift, UnsupportedModel
from embedder.core.types import Tokenized, Truncate
from embedder.inference.encoder_pool import EncoderPool
from embedder.inference.local import LocalTokenizer
from embedder.inference.tokenizer_pool import TokenizerPool
from embedder.models import weights
from embedder.models.catalogue import find_row
from embedder.settings.model import EmbedderSettings, ModelSettings, PoolSettings
from tests.unit.fake_device import ids
from tests.unit.inference import fake_loads
from tests.unit.inference.fake_loads import FakeLoads, clock_of, encode, pinned, wait_for_event
from tests.unit.waiting import until

Models = dict[str, ModelSettings]


async def test_old_models_stay_pinned_until_the_new_ones_are_ready(
    models: Models, loads: FakeLoads, pool: EncoderPool
) -> None:
    await pool.pin([models["a"], models["b"]])
    loads.block()
    changing = asyncio.ensure_future(pool.pin([models["b"], models["c"]]))
    await wait_for_event(loads.entered)
    meanwhile = pinned(pool)
    answer = await encode(pool, models["a"], 1)
    loads.gate.set()
    await changing

    assert meanwhile == {"a", "b"}
    assert answer == fake_loads.expected(1)
    assert pinned(pool) == {"b", "c"}
    assert fake_loads.ready(pool) == {"a", "b", "c"}, (
        "a is no longer pinned, but nothing needs its room"
    )


async def test_the_same_list_again_loads_nothing(
    models: Models, loads: FakeLoads, pool: EncoderPool
) -> None:
    await pool.pin([models["a"], models["b"], models["a"]])
    await pool.pin([models["b"], models["a"]])

    assert sorted(loads.names) == ["a", "b"]
    assert pinned(pool) == {"a", "b"}


async def test_pins_can_change_repeatedly(
    models: Models, loads: FakeLoads, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = fake_loads.encoder_pool(monkeypatch, loads, room=2)
    for name in "abcdab":
        await pool.pin([models[name]])

        assert pinned(pool) == {name}


async def test_an_empty_list_unpins_all(
    models: Models, loads: FakeLoads, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = fake_loads.encoder_pool(monkeypatch, loads, room=1)
    await pool.pin([models["a"]])
    await pool.pin([])
    await encode(pool, models["b"], 1)

    assert pinned(pool) == set()
    assert fake_loads.ready(pool) == {"b"}


@pytest.mark.parametrize("fault", [ModelDrift("x", "text", 0.1, 0.01), OSError("the disk")])
@pytest.mark.parametrize("broken", ["b", "c"])
async def test_a_failed_pin_keeps_the_other_pins_and_can_be_retried(
    models: Models, loads: FakeLoads, fault: Exception, broken: str, pool: EncoderPool
) -> None:
    await pool.pin([models["a"]])
    loads.faults[broken] = fault
    with pytest.raises(type(fault)):
        await pool.pin([models["b"], models["c"]])
    after_failure = pinned(pool)
    del loads.faults[broken]
    await pool.pin([models["b"], models["c"]])

    assert after_failure == {"a", "b", "c"} - {broken}
    assert pinned(pool) == {"b", "c"}


async def test_a_cancelled_change_keeps_the_old_pins(
    models: Models, loads: FakeLoads, pool: EncoderPool
) -> None:
    await pool.pin([models["a"]])
    loads.block()
    changing = asyncio.ensure_future(pool.pin([models["b"]]))
    await wait_for_event(loads.entered)
    changing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await changing
    loads.gate.set()
    kept = pinned(pool)
    await pool.pin([models["c"]])

    assert kept == {"a"}
    assert pinned(pool) == {"c"}


async def test_two_changes_at_once_end_with_the_later_list(
    models: Models, pool: EncoderPool
) -> None:
    await asyncio.gather(pool.pin([models["a"], models["b"]]), pool.pin([models["b"], models["c"]]))
    after_both = pinned(pool)
    await pool.pin([])

    assert after_both == {"b", "c"}
    assert pinned(pool) == set(), "b was not pinned twice"


async def test_equivalent_settings_share_a_model_and_the_latest_are_used(
    models: Models, loads: FakeLoads, pool: EncoderPool
) -> None:
    """An operator who corrects ``offline`` does not have to restart."""
    offline = models["a"].model_copy(update={"offline": True, "pinned": True})
    loads.faults["a"] = UnsupportedModel("not there")
    with pytest.raises(UnsupportedModel):
        await pool.describe(offline)
    del loads.faults["a"]
    await pool.describe(models["a"])
    await pool.describe(offline)

    assert [model.offline for model in loads.requested] == [True, False]
    assert len(pool.states()) == 1


async def test_the_estimate_is_the_size_of_the_files(
    models: Models, loads: FakeLoads, pool: EncoderPool
) -> None:
    loads.block()
    call = asyncio.ensure_future(pool.describe(models["a"]))
    await wait_for_event(loads.entered)
    (loading,) = pool.states()
    loads.gate.set()
    await call

    assert (loading.state, loading.bytes) == ("loading", fake_loads.BYTES)


async def test_an_estimate_never_asks_the_hub(
    loads: FakeLoads, monkeypatch: pytest.MonkeyPatch, pool: EncoderPool
) -> None:
    asked: list[bool] = []

    def snapshot(repository: str, revision: str, *, local_files_only: bool) -> str:
        asked.append(local_files_only)
        return "not there"

    monkeypatch.setattr(weights, "_snapshot", snapshot)
    loads.block()
    known = asyncio.ensure_future(pool.describe(ModelSettings(name="all-mpnet-base-v2")))
    await wait_for_event(loads.entered)
    unknown = ModelSettings(name="someone/else", revision="a" * 40)
    other = asyncio.ensure_future(pool.describe(unknown))
    await until(lambda: len(pool.states()) == 2)
    sizes = [state.bytes for state in pool.states()]
    loads.gate.set()
    await asyncio.gather(known, other)

    row = find_row("all-mpnet-base-v2")
    assert row is not None
    assert sizes == [4 * row.parameters, 0]
    assert set(asked) == {True}


async def _tokenize(
    pool: TokenizerPool, model: ModelSettings, texts: list[str], *, truncate: Truncate
) -> Tokenized:
    async with pool.use(model) as tokenizer:
        return await tokenizer.tokenize(texts, truncate=truncate, deadline=NEVER)


async def test_each_model_uses_its_own_tokenizer_and_limit(models: Models, tmp_path: Path) -> None:
    pool = TokenizerPool(EmbedderSettings())
    short = models["a"].model_copy(update={"max_tokens": 4})
    whole, cut = await asyncio.gather(
        _tokenize(pool, models["a"], ["abcdef"], truncate=Truncate.END),
        _tokenize(pool, short, ["abcdef"], truncate=Truncate.END),
    )

    assert whole.tokens.ids.tolist() == ids("abcdef")
    assert cut.tokens.ids.tolist() == [*ids("abcdef")[:3], ids("abcdef")[-1]]
    assert (whole.truncated.tolist(), cut.truncated.tolist()) == ([False], [True])
    with pytest.raises(ConfigurationError):
        await _tokenize(pool, ModelSettings(name=str(tmp_path)), ["a"], truncate=Truncate.END)


async def test_an_idle_tokenizer_is_unloaded(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    load = LocalTokenizer.load

    def counted(settings: ModelSettings) -> LocalTokenizer:
        loaded.append(Path(settings.name).name)
        return load(settings)

    monkeypatch.setattr(LocalTokenizer, "load", counted)
    pool = TokenizerPool(EmbedderSettings(pool=PoolSettings(max_bytes=1, idle_unload_s=60)))
    clock = clock_of(pool)
    await pool.pin([models["b"]])
    for _ in range(3):
        await _tokenize(pool, models["a"], ["a"], truncate=Truncate.END)
    clock.now = 61.0
    await pool.unload_idle()
    for name in "ab":
        await _tokenize(pool, models[name], ["a"], truncate=Truncate.END)

    assert loaded == ["b", "a", "a"]
