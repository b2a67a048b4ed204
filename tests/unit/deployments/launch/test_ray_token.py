"""Ray's token is made once, and only its user can read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deployments.launch.ray_token import make_token, show_token
from embedder.core.errors import ConfigurationError


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where the token of a new home is."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".ray" / "auth_token"


def test_a_token_is_made_once_and_readable_by_its_user_only(token: Path) -> None:
    make_token({})
    first = token.read_text()
    make_token({})

    assert len(first) == 64
    assert token.read_text() == first
    assert token.stat().st_mode & 0o777 == 0o600
    assert token.parent.stat().st_mode & 0o777 == 0o700


def test_the_permissions_of_a_readable_token_are_restricted(token: Path) -> None:
    token.parent.mkdir()
    token.write_text("theirs")
    token.chmod(0o644)
    make_token({})

    assert token.read_text() == "theirs"
    assert token.stat().st_mode & 0o777 == 0o600


def test_a_token_that_another_service_makes_meanwhile_is_kept(
    token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_folder = Path.mkdir

    def make_folder_and_token(folder: Path, **options: Any) -> None:
        make_folder(folder, **options)
        token.write_text("theirs")

    monkeypatch.setattr(Path, "mkdir", make_folder_and_token)
    make_token({})

    assert token.read_text() == "theirs"


def test_another_service_never_reads_an_unfinished_token(
    token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    visible: list[bool] = []

    def token_hex(count: int) -> str:
        visible.append(token.exists())
        return "ab" * count

    monkeypatch.setattr("deployments.launch.ray_token.secrets.token_hex", token_hex)
    make_token({})

    assert visible == [False]
    assert token.read_text() == "ab" * 32


@pytest.mark.parametrize(
    "environment", [{"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_TOKEN": "of the operator"}]
)
def test_no_token_is_made_if_none_is_required(token: Path, environment: dict[str, str]) -> None:
    make_token(environment)

    assert not token.exists()


def test_the_token_is_written_to_the_configured_path(token: Path, tmp_path: Path) -> None:
    make_token({"RAY_AUTH_TOKEN_PATH": str(tmp_path / "elsewhere" / "token")})

    assert (tmp_path / "elsewhere" / "token").stat().st_mode & 0o777 == 0o600
    assert not token.exists()


def test_an_unwritable_home_is_an_error_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "/proc/self")

    with pytest.raises(ConfigurationError, match=r"/proc/self/\.ray.*RAY_AUTH_TOKEN_PATH"):
        make_token({})


def test_an_existing_token_is_sent_unless_the_operator_set_the_mode(
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
