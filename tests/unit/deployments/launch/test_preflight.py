"""The configurations that are refused before Ray starts, with errors that name the key."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.launch.preflight import (
    AUTOSCALING,
    DEFAULT_LOGGING,
    IMPORT_PATH,
    base_url,
    check,
    check_exposure,
    check_temporary_folder,
    load_arguments,
    read_config,
)
from embedder.core.errors import ConfigurationError


def document(arguments: Any = None, *, port: int = 0) -> dict[str, Any]:
    """Return a configuration with these arguments; port 0 is always free."""
    return {
        "http_options": {"host": "127.0.0.1", "port": port},
        "logging_config": DEFAULT_LOGGING,
        "applications": [
            {"import_path": IMPORT_PATH, "args": arguments, "autoscaling_policy": AUTOSCALING}
        ],
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"host": "10.0.0.7", "port": 8123}),
        ({"port": 9123}, {"host": "10.0.0.7", "port": 9123}),
        ({"host": "::1"}, {"host": "::1", "port": 8123}),
    ],
)
def test_host_and_port_override_the_configuration(
    given: dict[str, Any], expected: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("{http_options: {host: 10.0.0.7, port: 8123, root_path: /x}, applications: []}")

    assert read_config(path, **given)["http_options"] == {**expected, "root_path": "/x"}


def test_without_options_it_listens_on_loopback(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("applications: []")

    assert read_config(path)["http_options"] == {"host": "127.0.0.1", "port": 8000}


def test_a_temporary_folder_that_is_too_long_for_sockets_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/tmp/1234")
    check_temporary_folder()
    monkeypatch.setattr("tempfile.tempdir", "/tmp/12345")
    with pytest.raises(ConfigurationError, match=r"at most 9 bytes; set TMPDIR=/tmp"):
        check_temporary_folder()


@pytest.mark.parametrize(
    "text",
    [
        "[1, 2]",
        "applications: 3",
        "applications: [embedder]",
        "{applications: [], http_options: 8000}",
        "applications: [{args: text}]",
        "applications: [{deployments: [Ingress]}]",
        "applications: [{deployments: 3}]",
        "{unclosed",
        "\x00",
        "\udcff",
    ],
)
def test_the_error_of_an_invalid_file_names_it(text: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text, errors="surrogateescape")

    with pytest.raises(ConfigurationError, match=r"config\.yaml"):
        read_config(path)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"encodr": {"min_replicas": 1}}, "no such setting; did you mean encoder"),
        ({"encoder": {"max_replicas": "many"}}, r"encoder\.max_replicas .*'many'"),
        ({"encoder": {"min_replicas": 3}}, "encoder.*min_replicas is 3, above"),
        ({"model": {"name": "no-such-model"}}, "no weights for model 'no-such-model'"),
        ({"data_directory": "/proc/self/data"}, "data_directory cannot be written"),
    ],
)
def test_the_error_of_an_invalid_argument_names_its_key(arguments: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        check(document(arguments))


def test_the_environment_overrides_the_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDDER_CACHE__MAX_BYTES", "7")

    loaded = load_arguments({"cache": {"max_bytes": 5}, "limits": {"max_inputs": 9}})

    assert loaded.settings.cache.max_bytes == 7
    assert loaded.settings.limits.max_inputs == 9
    assert loaded.origins["cache.max_bytes"] == "environment EMBEDDER_CACHE__MAX_BYTES"


def test_an_unknown_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDDER_CASHE__MAX_BYTES", "7")

    with pytest.raises(ConfigurationError, match="EMBEDDER_CASHE__MAX_BYTES"):
        check(document())


def test_the_arguments_of_another_application_are_not_checked() -> None:
    other = {"import_path": "theirs:app", "args": {"anything": 1}}

    check({**document(), "applications": [other]})


def test_a_port_in_use_is_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        says = rf"cannot listen on 127.0.0.1:{port}, where process {os.getpid()} \(.*\) listens"
        with pytest.raises(ConfigurationError, match=says):
            check(document(port=port))


@pytest.mark.parametrize("port", [-1, 70_000, "8000", None])
def test_a_port_that_does_not_exist_is_refused(port: Any) -> None:
    with pytest.raises(ConfigurationError, match="choose another"):
        check(document(port=port))


def test_a_dumped_configuration_is_read_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(document({"cache": {"max_bytes": 0}})))

    assert read_config(path) == document({"cache": {"max_bytes": 0}})


def test_an_application_of_this_service_gets_its_policy_and_another_one_none(
    tmp_path: Path,
) -> None:
    path = tmp_path / "config.yaml"
    own = {"policy_function": "elsewhere:scale"}
    entries = [
        {"import_path": IMPORT_PATH},
        {"import_path": IMPORT_PATH, "autoscaling_policy": own},
        {"import_path": "elsewhere:app"},
    ]
    path.write_text(yaml.safe_dump({"applications": entries}))

    policies = [entry.get("autoscaling_policy") for entry in read_config(path)["applications"]]
    assert policies == [AUTOSCALING, own, None]


def _listening(host: str, arguments: Any = None) -> dict[str, Any]:
    return {**document(arguments), "http_options": {"host": host, "port": 0}}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_a_loopback_host_needs_no_keys(host: str) -> None:
    check_exposure(_listening(host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "service.example", ""])
def test_any_other_host_needs_keys(host: str) -> None:
    keys = [{"name": "ops", "sha256": "0" * 64, "scopes": ["read"]}]

    with pytest.raises(ConfigurationError, match=r"has no keys.*embedder key"):
        check_exposure(_listening(host))
    check_exposure(_listening(host, {"keys": keys}))


@pytest.mark.parametrize("field", ["name", "sha256"])
def test_keys_with_the_same_name_or_digest_are_refused(field: str) -> None:
    keys = [
        {"name": "a", "sha256": "0" * 64, "scopes": ["read"]},
        {"name": "b", "sha256": "1" * 64, "scopes": ["read"]},
    ]
    keys[1][field] = keys[0][field]

    with pytest.raises(ConfigurationError, match=f"several keys have the same {field}"):
        load_arguments({"keys": keys})


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_the_port_check_works_for_ipv6() -> None:
    with socket.socket(socket.AF_INET6) as taken:
        try:
            taken.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6 loopback")
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(ConfigurationError, match=rf"cannot listen on \[::1\]:{port}"):
            check(_listening("::1") | {"http_options": {"host": "::1", "port": port}})
    check(_listening("::1"))


@pytest.mark.parametrize(
    ("host", "prefix", "expected"),
    [
        ("127.0.0.1", None, "http://127.0.0.1:8000"),
        ("127.0.0.1", "/", "http://127.0.0.1:8000"),
        ("::1", "/api", "http://[::1]:8000/api"),
    ],
)
def test_the_address_of_the_routes_has_host_port_and_prefix(
    host: str, prefix: str | None, expected: str
) -> None:
    configuration = {**document(), "http_options": {"host": host, "port": 8000}}
    if prefix is not None:
        configuration["applications"][0]["route_prefix"] = prefix

    assert base_url(configuration) == expected
