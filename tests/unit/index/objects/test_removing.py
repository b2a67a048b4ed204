"""Objects that no segment uses are removed, but none that a replica may still read."""

from __future__ import annotations

from pathlib import Path

from embedder.index.objects.uploading import GRACE_S, LIST_S
from tests.unit.index.objects.replica import COUNT, Replica, on_empty_node, restarted


def test_unused_objects_are_removed_after_a_time_of_grace(replica: Replica) -> None:
    replica.put(0, 20)
    replica.put(20, 20)
    replica.uploads.run()
    replica.merge()
    replica.uploads.run()
    replica.now = GRACE_S - 1
    replica.uploads.run()
    assert len(replica.stored()) == 3
    replica.now = GRACE_S + LIST_S
    replica.uploads.run()

    assert len(replica.stored()) == 1
    replica.close()


def test_the_objects_of_another_uploader_have_a_time_of_grace_of_their_own(
    replica: Replica, url: str, tmp_path: Path
) -> None:
    replica.put(0, 20)
    replica.put(20, 20)
    replica.uploads.run()
    second = restarted(replica, tmp_path / "second", url)
    second.uploads.run()
    third = Replica(on_empty_node(replica, tmp_path / "third"), url)
    third.merge()
    second.now = GRACE_S - 1
    third.uploads.run()  # while the second still believes that it is the uploader
    second.uploads.run()
    second.now += LIST_S
    second.uploads.run()

    assert len(third.stored()) == 3
    second.close()
    third.close()


def test_an_uploader_that_pauses_begins_the_time_of_grace_again(replica: Replica) -> None:
    replica.put(0, 20)
    replica.put(20, 20)
    replica.uploads.run()
    replica.merge()
    for leads in (True, False, True):
        replica.leads = leads
        replica.uploads.run()
        replica.now += GRACE_S

    assert len(replica.stored()) == 3
    replica.close()


def test_objects_of_a_deleted_collection_are_removed(replica: Replica) -> None:
    replica.put()
    replica.put(name="other")
    replica.uploads.run()
    replica.index.delete("c")
    replica.uploads.run()
    replica.now = GRACE_S
    replica.uploads.run()

    (left,) = replica.stored()
    assert left.startswith(replica.index._shard.find("other").uuid)
    replica.close()


def test_objects_of_a_collection_that_is_not_open_stay(replica: Replica) -> None:
    replica.put()
    replica.uploads.run()
    replica.index._shard.collections.open = {}
    replica.uploads.run()
    replica.now = GRACE_S
    replica.uploads.run()

    assert len(replica.stored()) == 1
    replica.close()


def test_objects_stay_while_the_segments_that_replace_them_are_not_saved(
    replica: Replica, url: str, tmp_path: Path
) -> None:
    replica.put()
    replica.uploads.run()
    stored = replica.stored()
    second = restarted(replica, tmp_path / "second", "memory://elsewhere")
    assert second.read == COUNT
    second.objects = second.uploads._store = Replica(
        on_empty_node(replica, tmp_path / "third"), url
    ).objects
    second.uploads.run()
    second.now = GRACE_S
    second.uploads.run()

    assert second.stored() == stored
    second.close()


def test_other_files_are_left_alone(replica: Replica) -> None:
    replica.put()
    replica.uploads.run()
    (name,) = replica.stored()
    foreign = ["notes", name + ".part", name.replace("/", "x/"), name.upper()]
    for one in foreign:
        replica.objects.put(Path(__file__), one)
    replica.uploads.run()
    replica.now = GRACE_S
    replica.uploads.run()

    assert replica.stored() == sorted([name, *foreign])
    replica.close()
