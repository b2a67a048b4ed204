"""What is refused before Ray is started, in a sentence that names the key."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.preflight import IMPORT_PATH, check, read_config
from embedder.errors import ConfigurationError


def document(arguments: Any = None, *, port: int = 0) -> dict[str, Any]:
    """Return a configuration with these arguments; port 0 is always free."""
    return {
        "http_options": {"host": "127.0.0.1", "port": port},
        "applications": [{"import_path": IMPORT_PATH, "args": arguments}],
    }


@pytest.mark.parametrize(("port", "expected"), [(None, 8123), (9123, 9123)])
def test_a_port_takes_the_place_of_the_configurations(
    port: int | None, expected: int, tmp_path: Path
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("{http_options: {port: 8123, root_path: /x}, applications: []}")
    options = read_config(path, port=port)["http_options"]

    assert options == {"host": "127.0.0.1", "port": expected, "root_path": "/x"}


@pytest.mark.parametrize("text", ["[1, 2]", "applications: 3", "{unclosed", "\x00"])
def test_a_file_that_is_no_configuration_is_refused_by_its_name(text: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)

    with pytest.raises(ConfigurationError, match=r"config\.yaml"):
        read_config(path)


def test_the_shipped_configuration_passes() -> None:
    shipped = read_config(Path(__file__).parents[3] / "serve_config.yaml", port=0)

    check(shipped)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"encodr": {}}, r"args\.encodr: Extra inputs are not permitted"),
        ({"encoder": {"max_replicas": "many"}}, r"args\.encoder\.max_replicas: .*'many'"),
        ({"encoder": {"min_replicas": 3}}, r"args\.encoder: .*min_replicas is 3, above"),
        ({"model": {"name": "no-such-model"}}, "no weights for model 'no-such-model'"),
    ],
)
def test_arguments_that_cannot_work_are_refused_by_their_key(arguments: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        check(document(arguments))


def test_the_arguments_of_another_application_are_not_ours_to_judge() -> None:
    other = {"import_path": "theirs:app", "args": {"anything": 1}}

    check({**document(), "applications": [other]})


def test_a_port_that_is_taken_is_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(ConfigurationError, match=f"cannot listen on 127.0.0.1:{port}"):
            check(document(port=port))


@pytest.mark.parametrize("port", [-1, 70_000])
def test_a_port_that_does_not_exist_is_refused(port: int) -> None:
    with pytest.raises(ConfigurationError, match="choose another"):
        check(document(port=port))


def test_configurations_are_read_as_yaml_dumps_them(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(document({"cache": {"max_bytes": 0}})))

    assert read_config(path) == document({"cache": {"max_bytes": 0}})
