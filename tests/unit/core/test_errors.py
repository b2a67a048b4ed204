"""Every error can be pickled, has its own code, and states its fields in its message."""

from __future__ import annotations

import inspect
import pickle
from collections import Counter
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.core import errors, storage_errors
from embedder.core.errors import (
    BackendFailure,
    DeadlineExceeded,
    EmbedderError,
    InvalidInput,
    LimitExceeded,
    MissingExtra,
    ModelDrift,
    ModelNotFound,
    Overloaded,
    PoolFull,
    StageUnavailable,
    UnknownCollection,
    WeightsMismatch,
)

FIELD_VALUES: dict[str, st.SearchStrategy[object]] = {
    "str": st.text(max_size=20),
    "int": st.integers(),
    "float": st.floats(0, 1e6),
    "str | None": st.none() | st.text(max_size=20),
    "tuple[str, ...]": st.lists(st.text(max_size=20), max_size=3).map(tuple),
}


def _tree(base: type[EmbedderError]) -> list[type[EmbedderError]]:
    below = [found for child in base.__subclasses__() for found in _tree(child)]
    return [base, *below]


OURS = (errors, storage_errors)
CLASSES = [
    found
    for found in _tree(EmbedderError)
    if found.__module__ in [module.__name__ for module in OURS]
]
every_class = pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)


def _arguments(kind: type[EmbedderError]) -> st.SearchStrategy[tuple[object, ...]]:
    """Draw the arguments of the constructor; one message where it takes any."""
    if kind.__init__ is Exception.__init__:
        return st.tuples(FIELD_VALUES["str"])
    parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]
    return st.tuples(*(FIELD_VALUES[str(parameter.annotation)] for parameter in parameters))


@every_class
@given(data=st.data())
def test_a_pickled_error_is_equal_after_loading(
    kind: type[EmbedderError], data: st.DataObject
) -> None:
    error = kind(*data.draw(_arguments(kind)))

    arrived = pickle.loads(pickle.dumps(error))

    assert type(arrived) is kind
    assert arrived.args == error.args
    assert vars(arrived) == vars(error)
    assert str(arrived) == str(error)


def test_every_class_has_its_own_code() -> None:
    inherited = [kind.__name__ for kind in CLASSES if "code" not in vars(kind)]
    shared = [code for code, uses in Counter(kind.code for kind in CLASSES).items() if uses > 1]

    assert inherited == []
    assert shared == []


@pytest.mark.parametrize("module", OURS, ids=lambda module: module.__name__)
def test_the_tree_in_the_docstring_is_the_class_tree(module: ModuleType) -> None:
    drawn: dict[str, int] = {}
    for line in (module.__doc__ or "").splitlines():
        if line.startswith("    ") and (words := line.strip(" │├└─").split()):
            drawn[words[0]] = (len(line) - len(line.lstrip(" │├└─"))) // 4
    depths = {kind.__name__: len(kind.__mro__) - len(Exception.__mro__) for kind in CLASSES}
    own = {kind.__name__ for kind in CLASSES if kind.__module__ == module.__name__}

    assert drawn.items() <= depths.items()
    assert drawn.keys() >= own
    if module is errors:
        assert drawn.keys() == own


@given(field=st.text(max_size=20), size=st.integers(), limit=st.integers())
def test_a_limit_names_the_field_the_size_and_the_limit(field: str, size: int, limit: int) -> None:
    error = LimitExceeded(field, "tokens", size, limit)

    assert str(error) == f"'{field}' has {size} tokens; the limit is {limit}"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (InvalidInput("input[3]", "must not be empty"), "'input[3]' must not be empty"),
        (UnknownCollection("collection", "x"), "'collection' names 'x', which does not exist"),
        (Overloaded(1.25), "the service is full; retry in 1.2 s"),
        (DeadlineExceeded("queue"), "the deadline passed while waiting for the queue"),
        (ModelNotFound("m", ("here", "there")), "no weights for model 'm'; looked in: here; there"),
        (WeightsMismatch("f", "aa", "bb"), "f has SHA-256 bb; expected is aa"),
        (
            ModelDrift("m", "a text", 0.012345, 1e-3),
            "model 'm' computes other vectors than its published ones: 'a text' differs by 0.012; "
            "0.001 is allowed",
        ),
        (
            MissingExtra("backend.name 'onnx'", "onnxruntime", "onnx"),
            "backend.name 'onnx' needs onnxruntime, which is not installed: "
            "pip install 'embedder[onnx]'",
        ),
        (
            PoolFull("m", 1536 * 2**20, 2**30, 2**19),
            "model 'm' needs 1,536.0 MiB; pool.max_bytes is 1,024.0 MiB, of which pinned models "
            "hold 0.5 MiB",
        ),
    ],
)
def test_a_message_states_the_fields(error: EmbedderError, sentence: str) -> None:
    assert str(error) == sentence


@pytest.mark.parametrize("error", [BackendFailure("secret"), StageUnavailable("index", "secret")])
def test_the_reason_for_the_operator_is_not_in_the_message(error: EmbedderError) -> None:
    assert "secret" not in str(error)
    assert vars(error)["reason"] == "secret"
