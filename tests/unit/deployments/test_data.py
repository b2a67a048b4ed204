"""Where files are kept: as it was said, in the user's data folder, or nowhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from deployments.data import cache_directory, index_directory
from deployments.settings import ServeSettings


def _places(**given: Any) -> tuple[Path | None, Path | None]:
    settings = ServeSettings.model_validate(given)
    return cache_directory(settings), index_directory(settings)


def test_each_has_a_folder_of_its_own_in_that_which_was_said() -> None:
    assert _places(data_directory="/srv/data") == (Path("/srv/data/cache"), Path("/srv/data/index"))


def test_a_home_is_one_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")

    assert _places(data_directory="~/kept")[0] == Path("/home/someone/kept/cache")


@pytest.mark.parametrize("stated", ["data", "./data", "~someone/data", ""])
def test_a_path_that_depends_on_the_process_is_refused(stated: str) -> None:
    with pytest.raises(ValidationError, match="data_directory"):
        _places(data_directory=stated)


def test_with_null_nothing_is_kept() -> None:
    assert _places(data_directory=None) == (None, None)


@pytest.mark.parametrize(
    ("stated", "root"),
    [
        ("/data", "/data/embedder"),
        ("", "/home/someone/.local/share/embedder"),
        ("relative", "/home/someone/.local/share/embedder"),
    ],
)
def test_what_is_left_to_the_service_is_in_the_user_s_data_folder(
    stated: str, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("XDG_DATA_HOME", stated)

    assert _places() == (Path(root) / "cache", Path(root) / "index")


def test_a_cache_may_be_kept_where_it_alone_is() -> None:
    kept = _places(data_directory=None, cache={"directory": "/fast/disk"})

    assert kept == (Path("/fast/disk"), None)
