"""A name keeps its model until the next one has loaded."""

from __future__ import annotations

import pytest

from embedder.core.errors import Unavailable, UnknownModel
from tests.unit.deployments.ingress.loads import Served, model


async def test_the_first_model_is_loaded_at_once_and_answers_under_its_names_and_none() -> None:
    served = Served()
    (connected,) = await served.start(model("/srv/models/one", "first"))

    for name in (None, "first", "one", "/srv/models/one"):
        assert await served.models.get(name) is connected
    assert served.state() == "ready"


async def test_a_request_waits_for_the_first_load_and_starts_no_other() -> None:
    served = Served()
    await served.configure(model("one"))
    waiting = [await served.ask() for _ in range(3)]
    assert not any(one.done() for one in waiting)
    connected = await served.loads.finish()

    assert [await one for one in waiting] == [connected] * 3
    assert len(served.loads.begun) == 1


async def test_a_model_that_is_not_pinned_is_loaded_when_it_is_first_asked_for() -> None:
    served = Served()
    await served.start(model("one"), model("two"), model("three", pinned=True))
    before = [settings.name for settings in served.loads.begun]
    waiting = [await served.ask("two"), await served.ask("two")]
    connected = await served.loads.finish()

    assert before == ["one", "three"]
    assert [settings.name for settings in served.loads.begun[2:]] == ["two"]
    assert [await one for one in waiting] == [connected] * 2


async def test_a_first_load_is_seen_while_it_goes_on() -> None:
    served = Served()
    await served.configure(model("one"), model("two"))
    during = served.state("one"), served.state("two")
    await served.loads.finish()

    assert during == ("loading", "not loaded")
    assert served.state("one") == "ready"


async def test_a_name_keeps_its_model_until_the_next_one_has_connected() -> None:
    served = Served()
    (old,) = await served.start(model("one", "prod"))
    await served.configure(model("two", "prod"))
    meanwhile = await served.models.get("prod"), await served.models.get(None)
    state = served.models.state("prod")
    new = await served.loads.finish()

    assert meanwhile == (old, old)
    assert (state.state, state.serving, state.settings.name) == ("changing", old, "one")
    assert await served.models.get("prod") is await served.models.get(None) is new
    assert (new.settings.name, served.state("prod")) == ("two", "ready")


async def test_requests_without_a_name_keep_their_model_where_the_first_entry_is_another() -> None:
    served = Served()
    (old,) = await served.start(model("one"))
    await served.configure(model("two"))
    meanwhile = await served.models.get()
    new = await served.loads.finish()

    assert meanwhile is old
    assert await served.models.get() is new


async def test_a_published_name_is_never_answered_by_another_model() -> None:
    """The name of the next model is not that of the old one, although they share an alias."""
    served = Served()
    (old,) = await served.start(model("one", "prod"))
    await served.configure(model("two", "prod"))
    waiting = await served.ask("two")
    assert not waiting.done()
    new = await served.loads.finish()

    assert await waiting is new
    assert old.settings.name == "one"
    with pytest.raises(UnknownModel):
        await served.models.get("one")


async def test_a_model_that_was_loaded_on_request_is_swapped_without_another_request() -> None:
    served = Served()
    await served.start(model("one"), model("two", "side"))
    await served.ask("side")
    old = await served.loads.finish()
    await served.configure(model("one"), model("three", "side"))
    meanwhile = await served.models.get("side")
    new = await served.loads.finish()

    assert meanwhile is old
    assert await served.models.get("side") is new


async def test_a_name_that_is_not_given_any_more_is_unknown_at_once() -> None:
    served = Served()
    await served.start(model("one"), model("two", pinned=True))
    await served.configure(model("one"))

    with pytest.raises(UnknownModel):
        served.models.check("two")
    with pytest.raises(UnknownModel):
        await served.models.get("two")
    assert [state.name for state in served.models.states()] == ["one"]


@pytest.mark.parametrize("order", [(0, 0), (1, 0)])
async def test_of_two_changes_the_last_one_wins_whatever_finishes_first(
    order: tuple[int, int],
) -> None:
    served = Served()
    await served.start(model("one", "prod"))
    await served.configure(model("two", "prod"))
    await served.configure(model("three", "prod"))
    for number in order:
        await served.loads.finish(number)

    assert (await served.models.get("prod")).settings.name == "three"
    assert served.state("prod") == "ready"


async def test_a_change_that_is_taken_back_connects_nothing_and_what_it_began_is_dropped() -> None:
    served = Served()
    (old,) = await served.start(model("one", "prod"))
    await served.configure(model("two", "prod"))
    await served.configure(model("one", "prod"))
    back = served.state("prod")
    await served.loads.finish()

    assert back == "ready"
    assert await served.models.get("prod") is old
    assert len(served.loads.begun) == 2


async def test_the_same_list_again_changes_nothing_and_connects_nothing() -> None:
    served = Served()
    models = [model("one", "prod"), model("two"), model("three", pinned=True)]
    one, three = await served.start(*models)
    await served.configure(*models)

    assert await served.models.get("prod") is one
    assert await served.models.get("three") is three
    assert [state.state for state in served.models.states()] == ["ready", "not loaded", "ready"]
    assert len(served.loads.begun) == 2


async def test_the_same_list_again_during_a_load_lets_it_end() -> None:
    served = Served()
    await served.configure(model("one"))
    await served.configure(model("one"))
    connected = await served.loads.finish()

    assert await served.models.get() is connected
    assert (len(served.loads.begun), served.state()) == (1, "ready")


async def test_a_model_that_becomes_pinned_is_connected_anew() -> None:
    """Its calls go to any replica then, no more to the one that loaded it."""
    served = Served()
    await served.start(model("one"), model("two"))
    await served.ask("two")
    old = await served.loads.finish()
    await served.configure(model("one"), model("two", pinned=True))
    meanwhile = await served.models.get("two")
    new = await served.loads.finish()

    assert meanwhile is old
    assert await served.models.get("two") is new
    assert new.settings.pinned


async def test_entries_may_change_places_and_connect_nothing() -> None:
    served = Served()
    one, two = await served.start(model("one", pinned=True), model("two", pinned=True))
    await served.configure(model("two", pinned=True), model("one", pinned=True))

    assert [state.name for state in served.models.states()] == ["two", "one"]
    assert await served.models.get() is await served.models.get("two") is two
    assert await served.models.get("one") is one
    assert len(served.loads.begun) == 2


async def test_two_entries_may_swap_their_aliases_each_in_its_own_time() -> None:
    served = Served()
    blue = await served.start(model("one", "live"), model("two", "next", pinned=True))
    await served.configure(model("two", "live"), model("one", "next", pinned=True))
    meanwhile = [await served.models.get(name) for name in ("live", "next", "one", "two")]
    first = await served.loads.finish()
    halfway = [await served.models.get(name) for name in ("live", "next", "one", "two")]
    second = await served.loads.finish()

    assert meanwhile == [blue[0], blue[1], blue[0], blue[1]]
    assert (first.settings.name, second.settings.name) == ("two", "one")
    assert halfway == [first, blue[1], blue[0], first]
    assert await served.models.get("next") is await served.models.get("one") is second


async def test_a_name_that_moves_to_an_entry_of_its_own_keeps_its_model_until_that_is_there() -> (
    None
):
    served = Served()
    (old,) = await served.start(model("one", "prod"))
    await served.configure(model("two", "prod"), model("one"))
    meanwhile = await served.models.get("one")
    await served.loads.finish()
    own = await served.loads.finish()

    assert meanwhile is old
    assert await served.models.get("one") is own
    assert own.settings.alias is None


async def test_an_entrys_first_name_goes_before_the_other_names_of_those_above_it() -> None:
    served = Served()
    aliased, plain = await served.start(
        model("/srv/one", "prod"), model("/elsewhere/one", pinned=True)
    )

    assert await served.models.get("one") is plain
    assert await served.models.get("prod") is await served.models.get("/srv/one") is aliased


async def test_before_anything_is_configured_no_name_is_known_and_no_default_there() -> None:
    served = Served()

    with pytest.raises(UnknownModel):
        await served.models.get("one")
    with pytest.raises(Unavailable):
        await served.models.get()
    assert served.models.states() == []
