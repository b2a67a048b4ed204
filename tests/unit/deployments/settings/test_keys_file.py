"""The content of the file of keys, and who may write it."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from deployments.settings.access import MAX_KEY_NAME_CHARACTERS, MAX_KEYS, ApiKey
from deployments.settings.keys_file import (
    MAX_BYTES,
    check_keys_file,
    parse_keys,
    read_keys_file,
    with_file,
)
from deployments.settings.service import ServeSettings
from embedder.core.errors import ConfigurationError

FILE = Path("/etc/keys.yaml")
SECRET = "5ec4e7" + "0" * 58
LINE = f'- {{"name": "a", "sha256": "{SECRET}", "collections": ["x*"]}}\n'


def refusal(content: bytes | str) -> str:
    """Return why the content of a file is refused."""
    data = content if isinstance(content, bytes) else content.encode()
    with pytest.raises(ConfigurationError) as caught:
        parse_keys(data, FILE)
    message = str(caught.value)
    assert message.startswith(f"keys_file: {FILE} ")
    assert message.isprintable()
    return message


def test_the_lines_of_the_settings_are_those_of_the_file() -> None:
    (key,) = parse_keys(LINE.encode(), FILE)
    (configured,) = ServeSettings(keys=yaml.safe_load(LINE)).keys

    assert key == configured
    assert key.collections == ("x*",)


def test_an_empty_list_is_no_keys_and_an_empty_file_is_refused() -> None:
    assert parse_keys(b"[]", FILE) == ()
    for empty in (b"", b"\n", b"# no keys any more\n", b"null", b"---\n"):
        assert "is empty: write []" in refusal(empty)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("- {", "is not YAML in line"),
        ("- a: [1\n  b: 2\n", "is not YAML in line 2"),
        (f"- *{SECRET}", "is not YAML in line 1"),
        (f"- !{SECRET} x", "is not YAML in line 1"),
        (b"\xff\xfe\xfa", "is not YAML in UTF-8"),
        ("\x00", "is not YAML in UTF-8"),
        ("- 2020-99-99", "has a value that is too deep"),
        ("[" * 5000, "has a value that is too deep"),
        ("keys: []", "must be a list"),
        ("text", "must be a list"),
        ("- text", "entry 1: Input should be"),
        ("- {name: 1, sha256: x}", "entry 1.name: Input should be a valid string"),
        (LINE + "- {}", "entry 2.name: Field required"),
        (LINE.replace("name", "nam"), "entry 1.name: Field required"),
        (LINE.replace('["x*"]', '["x**"]'), "entry 1.collections: entry 1 must begin"),
        (LINE.replace('["x*"]', '"x*"'), "entry 1.collections: Input should be a valid tuple"),
        (LINE.replace("}", ', "scopes": ["all"]}'), "entry 1.scopes.0: Input should be 'read'"),
        (LINE.replace("}", ', "a\\nb": 1}'), r"'entry 1.a\nb': Extra inputs"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(content: bytes | str, problem: str) -> None:
    message = refusal(content)

    assert problem in message
    assert SECRET not in message


def test_no_message_shows_a_value() -> None:
    for wrong in (LINE.replace("}", ""), LINE.replace(SECRET, SECRET + "z"), f"'{SECRET}"):
        assert SECRET not in refusal(wrong)


@given(
    st.one_of(st.binary(), st.text().map(str.encode), st.from_type(list).map(repr).map(str.encode))
)
def test_any_content_gives_keys_or_a_problem(content: bytes) -> None:
    with suppress(ConfigurationError):
        assert all(isinstance(key, ApiKey) for key in parse_keys(content, FILE))


names = st.text(min_size=1, max_size=MAX_KEY_NAME_CHARACTERS).filter(str.isprintable)


@given(names)
def test_any_name_of_a_key_is_read_as_it_was_written(name: str) -> None:
    entry = json.dumps({"name": name, "sha256": SECRET}, ensure_ascii=False)

    assert [key.name for key in parse_keys(f"- {entry}\n".encode(), FILE)] == [name]


def test_the_keys_of_file_and_settings_are_checked_together() -> None:
    configured = ServeSettings(keys=yaml.safe_load(LINE)).keys
    assert (
        len(with_file(configured, LINE.replace("5ec", "000").replace('"a"', '"b"').encode(), FILE))
        == 2
    )
    with pytest.raises(ConfigurationError, match="together: several keys have the same name"):
        with_file(configured, LINE.encode(), FILE)

    lines = "".join(f'- {{"name": "{row}", "sha256": "{row:064x}"}}\n' for row in range(MAX_KEYS))
    assert len(with_file((), lines.encode(), FILE)) == MAX_KEYS
    with pytest.raises(ConfigurationError, match=f"{MAX_KEYS + 1} keys; the limit is {MAX_KEYS}"):
        with_file(configured, lines.encode(), FILE)


def test_the_size_of_a_file_is_limited(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    path.write_bytes(b"#" * MAX_BYTES)
    assert len(read_keys_file(path)) == MAX_BYTES
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(ConfigurationError, match="more than 1,048,576 bytes"):
        read_keys_file(path)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o440, 0o644])
def test_others_may_read_a_file(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "keys.yaml"
    path.write_bytes(b"[]")
    path.chmod(mode)

    assert read_keys_file(path) == b"[]"


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_nobody_else_may_write_a_file(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "keys.yaml"
    path.write_bytes(b"[]")
    path.chmod(mode)

    with pytest.raises(
        ConfigurationError, match="other users, who could add keys: run 'chmod go-w'"
    ):
        read_keys_file(path)


def test_a_missing_file_a_folder_and_a_pipe_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigurationError, match="no regular file"):
        read_keys_file(tmp_path / "pipe")
    with pytest.raises(ConfigurationError, match="Is a directory"):
        read_keys_file(tmp_path)
    with pytest.raises(ConfigurationError, match="No such file"):
        read_keys_file(tmp_path / "none")


def test_the_check_needs_the_file_only_where_it_is_served(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    settings = ServeSettings(keys_file=str(path))
    check_keys_file(ServeSettings(), required=True)
    check_keys_file(settings)
    with pytest.raises(ConfigurationError, match="No such file"):
        check_keys_file(settings, required=True)

    path.write_bytes(b"")
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match="is empty"):
        check_keys_file(settings)
