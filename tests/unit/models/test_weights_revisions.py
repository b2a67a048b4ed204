"""The revision of a repository decides which source may serve it."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedder.core.errors import ConfigurationError, ModelNotFound
from tests.unit.models.model_sources import OTHER_REVISION, REVISION, FakeSources, fill
from tests.unit.models.test_weights import _locate


def test_a_repository_that_is_not_in_the_catalogue_needs_a_revision(sources: FakeSources) -> None:
    sources.fill_hub()

    with pytest.raises(ConfigurationError, match=r"'someone/else'.*model\.revision"):
        _locate("someone/else")

    assert sources.asked == []


def test_a_repository_is_downloaded_at_exactly_the_revision_that_is_named(
    sources: FakeSources,
) -> None:
    sources.fill_hub()

    source = _locate("someone/else", revision=OTHER_REVISION)

    assert sources.asked == [("someone/else", OTHER_REVISION)]
    assert (source.row, source.repository, source.revision) == (
        None,
        "someone/else",
        OTHER_REVISION,
    )


def test_a_repository_is_taken_from_the_cache_at_exactly_the_revision_that_is_named(
    sources: FakeSources,
) -> None:
    sources.fill_hub_cache(REVISION)

    with pytest.raises(ModelNotFound, match="someone/tiny@fedcba98"):
        _locate("someone/tiny", revision=OTHER_REVISION, offline=True)

    snapshot = sources.fill_hub_cache(OTHER_REVISION)
    assert _locate("someone/tiny", revision=OTHER_REVISION, offline=True).directory == snapshot


def test_a_package_is_of_no_use_for_another_revision(sources: FakeSources) -> None:
    sources.fill_package()
    sources.fill_hub()

    source = _locate("tiny", revision=OTHER_REVISION)

    assert (source.place, source.revision) == ("Hugging Face hub", OTHER_REVISION)
    assert sources.asked == [("someone/tiny", OTHER_REVISION)]
    assert _locate("tiny", revision=REVISION).place == "installed package"


def test_a_directory_is_of_the_revision_that_the_settings_say(
    sources: FakeSources, tmp_path: Path
) -> None:
    fill(tmp_path / "tiny")

    assert _locate("tiny", revision=OTHER_REVISION).revision == OTHER_REVISION
