"""In any order of events, names have loaded models and end on the last configuration."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from embedder.core.errors import ConfigurationError, UnknownModel
from embedder.models.catalogue import model_names
from embedder.settings.model import ModelSettings
from tests.unit.deployments.ingress.loads import Connected, Served, model, settle

NAMES = (None, "one", "two", "three", "x", "y")

entries = st.builds(
    model,
    st.sampled_from(("one", "two", "three")),
    st.sampled_from((None, "x", "y")),
    pinned=st.booleans(),
)
lists = st.lists(entries, min_size=1, max_size=3, unique_by=lambda entry: model_names(entry)[0])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("configure"), lists),
        st.tuples(st.sampled_from(("finish", "fail", "leave")), st.integers(0, 5)),
        st.tuples(st.just("ask"), st.sampled_from(NAMES)),
    ),
    max_size=25,
)


def meant(models: Sequence[ModelSettings]) -> dict[str | None, ModelSettings]:
    """Return the entry of a list for each name."""
    meaning: dict[str | None, ModelSettings] = {}
    for entry in reversed(models):
        meaning.update(dict.fromkeys(model_names(entry), entry))
    for entry in models:
        meaning[model_names(entry)[0]] = entry
    return {**meaning, None: models[0]}


class Play:
    """Requests, loads and lists in any order, with the invariants after each."""

    def __init__(self) -> None:
        self.served = Served()
        self.lists: list[list[ModelSettings]] = []
        self.asked: list[tuple[str | None, int, asyncio.Task[Connected]]] = []

    async def step(self, kind: str, argument: Any) -> None:
        loads = self.served.loads
        if kind == "configure":
            await self.configure(argument)
        elif kind == "ask":
            await self.ask(argument)
        elif kind == "leave" and self.asked:
            self.asked.pop(argument % len(self.asked))[2].cancel()
            await settle()
        elif kind == "finish" and loads.running:
            await loads.finish(argument % len(loads.running))
        elif kind == "fail" and loads.running:
            await loads.fail(ConfigurationError("cannot"), argument % len(loads.running))
        self.check()

    async def configure(self, models: list[ModelSettings]) -> None:
        """Serve these; a name that had a model and is still there has one."""
        before = self.serving()
        self.lists.append([models[0].model_copy(update={"pinned": True}), *models[1:]])
        await self.served.configure(*models)
        assert before.keys() & meant(self.lists[-1]).keys() <= self.serving().keys()

    async def ask(self, name: str | None) -> None:
        """Begin a request, which is answered at once where its name has a model."""
        serving = self.serving().get(name)
        task = await self.served.ask(name)
        self.asked.append((name, len(self.lists) - 1, task))
        if serving is not None:
            assert task.result() is serving

    def serving(self) -> Mapping[str | None, Connected]:
        """Return what answers now, by name."""
        given = meant(self.lists[-1]) if self.lists else {}
        states = {name: self.served.models.state(name) for name in given}
        return {name: state.serving for name, state in states.items() if state.serving}

    def check(self) -> None:
        """Hold every answer against what was connected, and what its name ever meant."""
        for name, connected in self.serving().items():
            self.check_answer(name, connected)
        for name, since, task in self.asked:
            assert not task.cancelled()
            if not task.done():
                continue
            error = task.exception()
            if error is None:
                self.check_answer(name, task.result())
            elif isinstance(error, UnknownModel):
                assert any(name not in meant(models) for models in self.lists[since:])
            else:
                assert str(error) == "cannot"

    def check_answer(self, name: str | None, connected: Connected) -> None:
        assert connected in self.served.loads.connected
        assert any(meant(models).get(name) == connected.settings for models in self.lists)

    async def end(self) -> None:
        """Ask for everything, let all loads end well, and expect what the last list says."""
        last = meant(self.lists[-1])
        finals = {name: await self.served.ask(name) for name in last}
        while self.served.loads.running:
            await self.served.loads.finish()
        for name, entry in last.items():
            assert finals[name].done()
            assert (await self.served.models.get(name)).settings == entry
            assert self.served.state(name) == "ready"
        assert all(task.done() for _, _, task in self.asked)
        self.check()


def test_names_always_have_whole_models_and_end_on_what_was_configured_last() -> None:
    complaints: list[Any] = []

    async def play(script: Sequence[tuple[str, Any]]) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, said: complaints.append(said))
        played = Play()
        for kind, argument in script:
            await played.step(kind, argument)
        await played.end()

    @given(lists, steps)
    def run(first: list[ModelSettings], then: list[tuple[str, Any]]) -> None:
        asyncio.run(play([("configure", first), *then]))

    run()
    gc.collect()

    assert complaints == []
