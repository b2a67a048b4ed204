"""Which tasks a model has, and which model answers a request that names none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.core.outputs import OutputKind, Task, Tasks, model_for, tasks_of

known = st.frozensets(st.sampled_from(Task))


@pytest.mark.parametrize(
    ("outputs", "labels", "tasks"),
    [
        ((OutputKind.DENSE,), (), {Task.EMBED}),
        ((OutputKind.SCORES,), ("relevance",), {Task.RERANK, Task.CLASSIFY}),
        ((OutputKind.SCORES,), ("no", "yes"), {Task.CLASSIFY}),
        ((OutputKind.SPARSE,), (), {Task.EMBED_SPARSE}),
        ((OutputKind.TOKENS,), (), {Task.EMBED_TOKENS}),
        (tuple(OutputKind), ("a",), set(Task)),
        ((), (), set()),
    ],
)
def test_the_outputs_and_the_number_of_labels_decide_the_tasks(
    outputs: tuple[OutputKind, ...], labels: tuple[str, ...], tasks: set[Task]
) -> None:
    assert tasks_of(outputs, labels) == tasks


@given(st.sampled_from(Task), st.lists(known, max_size=5))
def test_the_first_model_with_the_task_answers(task: Task, models: list[Tasks]) -> None:
    able = [at for at in range(len(models)) if task in models[at]]

    assert model_for(task, models) == min(able, default=None)


@given(st.sampled_from(Task), st.lists(known | st.none(), max_size=5), st.data())
def test_loading_what_is_unknown_leads_to_the_first_model_with_the_task(
    task: Task, models: list[Tasks | None], data: st.DataObject
) -> None:
    """Whatever the unknown models turn out to be, the choice is as if all had been known."""
    truth = [data.draw(known) if tasks is None else tasks for tasks in models]
    found = list(models)
    loaded = 0
    while (at := model_for(task, found)) is not None and found[at] is None:
        found[at] = truth[at]
        loaded += 1

    assert at == model_for(task, truth)
    assert loaded <= models.count(None)
