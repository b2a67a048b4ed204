"""A request gets a model with its task: the named one, or the first one."""

from __future__ import annotations

import pytest

from embedder.core.errors import ConfigurationError, UnknownModel, UnsupportedTask
from embedder.core.outputs import Task
from tests.unit.deployments.ingress.loads import Served, model

DENSE = frozenset({Task.EMBED})
CROSS = frozenset({Task.RERANK, Task.CLASSIFY})
CLASSES = frozenset({Task.CLASSIFY})


async def test_without_a_name_the_first_model_with_the_task_answers() -> None:
    served = Served()
    models = [model("cross"), model("vectors", pinned=True), model("classes", pinned=True)]
    served.loads.tasks = {"cross": CROSS, "vectors": DENSE, "classes": CLASSES}
    await served.configure(*models, tasks=[CROSS, DENSE, CLASSES])
    cross, vectors, _ = [await served.loads.finish() for _ in models]

    assert await served.models.get(task=Task.EMBED) is vectors
    assert await served.models.get(task=Task.RERANK) is cross
    assert await served.models.get(task=Task.CLASSIFY) is cross
    assert await served.models.get() is cross


async def test_a_model_whose_files_show_the_task_loads_alone() -> None:
    served = Served()
    served.loads.tasks = {"one": DENSE, "two": DENSE, "three": CROSS}
    await served.configure(model("one"), model("two"), model("three"), tasks=[DENSE, DENSE, CROSS])
    await served.loads.finish()
    asked = await served.ask(task=Task.RERANK)
    cross = await served.loads.finish()

    assert asked.result() is cross
    assert [settings.name for settings in served.loads.begun] == ["one", "three"]


async def test_models_with_unknown_tasks_are_loaded_in_order_until_one_has_the_task() -> None:
    served = Served()
    served.loads.tasks = {"one": DENSE, "two": CLASSES, "three": CROSS, "four": CROSS}
    await served.configure(*map(model, served.loads.tasks))
    await served.loads.finish()
    asked = await served.ask(task=Task.RERANK)
    await served.loads.finish()
    three = await served.loads.finish()

    assert asked.result() is three
    assert [settings.name for settings in served.loads.begun] == ["one", "two", "three"]


async def test_an_unknown_model_that_cannot_be_loaded_fails_the_request() -> None:
    """The next model would rank by other scores than the one that is meant to answer."""
    served = Served()
    await served.configure(model("one"), model("two"), model("three"), tasks=[DENSE, None, CROSS])
    asked = await served.ask(task=Task.RERANK)
    await served.loads.fail(ConfigurationError("no such disk"), 1)

    with pytest.raises(ConfigurationError, match="no such disk"):
        asked.result()


async def test_a_named_model_without_the_task_is_refused_before_it_is_loaded() -> None:
    served = Served()
    models = [model("one"), model("two"), model("three")]
    await served.configure(*models, tasks=[CROSS, DENSE, CROSS])

    with pytest.raises(UnsupportedTask, match=r"'two', which cannot rank .*: one, three"):
        await served.models.get("two", task=Task.RERANK)
    with pytest.raises(UnsupportedTask):
        served.models.check("two", Task.RERANK)
    assert [settings.name for settings in served.loads.begun] == ["one"]


async def test_a_named_model_with_unknown_tasks_is_refused_once_it_has_loaded() -> None:
    served = Served()
    served.loads.tasks = {"one": DENSE, "two": CLASSES}
    await served.configure(model("one"), model("two"), tasks=[DENSE, None])
    await served.loads.finish()
    served.models.check("two", Task.RERANK)
    asked = await served.ask("two", Task.RERANK)
    await served.loads.finish()

    with pytest.raises(UnsupportedTask, match="served models that can: none"):
        asked.result()
    with pytest.raises(UnsupportedTask):
        served.models.check("two", Task.RERANK)


async def test_where_no_model_has_the_task_the_error_says_so() -> None:
    served = Served()
    served.loads.tasks = {"one": DENSE}
    await served.start(model("one"))

    with pytest.raises(UnsupportedTask, match="left out, and no served model can rank"):
        await served.models.get(task=Task.RERANK)
    served.models.check(None, Task.RERANK)


async def test_an_unknown_name_is_unknown_whatever_the_task() -> None:
    served = Served()
    await served.start(model("one"))

    with pytest.raises(UnknownModel):
        await served.models.get("two", task=Task.RERANK)


async def test_a_task_keeps_its_model_until_the_next_one_has_loaded() -> None:
    served = Served()
    served.loads.tasks = {"vectors": DENSE, "old": CROSS, "new": CROSS}
    await served.configure(model("vectors"), model("old"), tasks=[DENSE, CROSS])
    await served.loads.finish()
    await served.ask(task=Task.RERANK)
    old = await served.loads.finish()
    await served.configure(model("vectors"), model("new"), tasks=[DENSE, CROSS])
    meanwhile = await served.models.get(task=Task.RERANK)
    new = await served.loads.finish()

    assert meanwhile is old
    assert await served.models.get(task=Task.RERANK) is new


async def test_a_name_that_changes_to_a_model_of_another_task_keeps_its_task_until_then() -> None:
    served = Served()
    served.loads.tasks = {"vectors": DENSE, "cross": CROSS}
    await served.configure(model("vectors", "prod"), tasks=[DENSE])
    vectors = await served.loads.finish()
    await served.configure(model("cross", "prod"), tasks=[CROSS])
    meanwhile = await served.models.get("prod", task=Task.EMBED)
    with pytest.raises(UnsupportedTask):
        await served.models.get("prod", task=Task.RERANK)
    cross = await served.loads.finish()

    assert meanwhile is vectors
    assert await served.models.get("prod", task=Task.RERANK) is cross
    with pytest.raises(UnsupportedTask):
        await served.models.get("prod", task=Task.EMBED)


async def test_what_a_loaded_model_computes_goes_before_what_its_files_say() -> None:
    served = Served()
    served.loads.tasks = {"one": DENSE, "two": CROSS}
    await served.configure(model("one"), model("two"), tasks=[CROSS, CROSS])
    one = await served.loads.finish()
    await served.configure(model("one"), model("two"), tasks=[CROSS, CROSS])
    asked = await served.ask(task=Task.RERANK)
    two = await served.loads.finish()

    assert asked.result() is two
    assert await served.models.get("one", task=Task.EMBED) is one
