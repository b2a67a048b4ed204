"""After any sequence of operations through two replicas, each of them answers as a dict.

The steps are those of the machine of one index; here a crash ends the connections of both replicas.
"""

from __future__ import annotations

from hypothesis import Phase, settings
from hypothesis.stateful import rule

from embedder.index.vector_index import VectorIndex
from tests.unit.index.places import Place
from tests.unit.index.test_index_machine import IndexMachine, scaled


class ReplicaMachine(IndexMachine):
    """Take the steps through either of two replicas; the second one opens when it is needed."""

    store = "postgres"

    def __init__(self) -> None:
        super().__init__()
        self.other: tuple[Place, VectorIndex] | None = None

    @rule()
    def go_on_with_the_other_replica(self) -> None:
        present = self.place, self.index
        if self.other is None:
            self.index = self._open(self.place.beside("other"))
        else:
            self.place, self.index = self.other
        self.other = present

    def teardown(self) -> None:
        if self.other is not None:
            self.other[1].close()
        super().teardown()


TestReplicaMachine = ReplicaMachine.TestCase
# A failure is not shrunk: each attempt costs seconds, and one that times out is another failure.
TestReplicaMachine.settings = settings(scaled(2), phases=[Phase.explicit, Phase.generate])
