"""Which model of a service a run over a file is bound to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from deployments.commands.embed.models import answering_model

READER = {"id": "reader", "revision": "r1", "outputs": ["scores"]}
DENSE = {"id": "dense", "revision": "d1", "outputs": ["dense", "sparse"]}
PLAIN = {"id": "plain", "object": "model"}


@pytest.mark.parametrize(
    ("served", "named", "model", "revision"),
    [
        ([READER, DENSE, PLAIN], None, "dense", "d1"),
        ([READER, DENSE, PLAIN], "plain", "plain", None),
        ([PLAIN, DENSE], None, "plain", None),
        ([DENSE], "an-alias", "an-alias", None),
        ([READER], None, None, None),
        ([], "m", "m", None),
    ],
)
def test_a_run_is_bound_to_the_model_that_answers(
    served: Sequence[dict[str, Any]], named: str | None, model: str | None, revision: str | None
) -> None:
    assert answering_model(served, named) == {"model": model, "revision": revision}
