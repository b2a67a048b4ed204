"""Ray's token: made once, for its user alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.launch.ray_token import make_token, show_token
from embedder.core.errors import ConfigurationError


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where the token of a new home is."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".ray" / "auth_token"


def test_a_token_is_made_once_and_is_its_users_alone(token: Path) -> None:
    make_token({})
    first = token.read_text()
    make_token({})

    assert len(first) == 64
    assert token.read_text() == first
    assert token.stat().st_mode & 0o777 == 0o600
    assert token.parent.stat().st_mode & 0o777 == 0o700


def test_a_token_that_everybody_could_read_is_closed(token: Path) -> None:
    token.parent.mkdir()
    token.write_text("theirs")
    token.chmod(0o644)
    make_token({})

    assert token.read_text() == "theirs"
    assert token.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "environment", [{"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_TOKEN": "of the operator"}]
)
def test_no_token_is_made_where_none_is_wanted(token: Path, environment: dict[str, str]) -> None:
    make_token(environment)

    assert not token.exists()


def test_another_file_is_made_where_it_is_named(token: Path, tmp_path: Path) -> None:
    make_token({"RAY_AUTH_TOKEN_PATH": str(tmp_path / "elsewhere" / "token")})

    assert (tmp_path / "elsewhere" / "token").stat().st_mode & 0o777 == 0o600
    assert not token.exists()


def test_a_home_that_cannot_be_written_is_told_with_a_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "/proc/self")

    with pytest.raises(ConfigurationError, match=r"/proc/self/\.ray.*RAY_AUTH_TOKEN_PATH"):
        make_token({})


def test_a_token_is_shown_where_there_is_one_unless_the_operator_says_otherwise(
    token: Path,
) -> None:
    without: dict[str, str] = {}
    show_token(without)
    make_token({})
    found: dict[str, str] = {}
    show_token(found)
    stated = {"RAY_AUTH_MODE": "disabled"}
    show_token(stated)

    assert (without, found, stated) == (
        {},
        {"RAY_AUTH_MODE": "token"},
        {"RAY_AUTH_MODE": "disabled"},
    )
