"""What is refused before Ray is started, in a sentence that names the key."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.launch.preflight import (
    IMPORT_PATH,
    base_url,
    check,
    check_contents,
    check_exposure,
    check_haproxy,
    load_applications,
    load_arguments,
    read_config,
)
from embedder.core.errors import ConfigurationError


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
    shipped = read_config(Path(__file__).parents[4] / "serve_config.yaml", port=0)

    check(shipped)


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
def test_arguments_that_cannot_work_are_refused_by_their_key(arguments: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        check(document(arguments))


def test_the_environment_goes_before_the_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDDER_CACHE__MAX_BYTES", "7")

    loaded = load_arguments({"cache": {"max_bytes": 5}, "limits": {"max_inputs": 9}})

    assert loaded.settings.cache.max_bytes == 7
    assert loaded.settings.limits.max_inputs == 9
    assert loaded.origins["cache.max_bytes"] == "environment EMBEDDER_CACHE__MAX_BYTES"


def test_a_variable_that_means_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDDER_CASHE__MAX_BYTES", "7")

    with pytest.raises(ConfigurationError, match="EMBEDDER_CASHE__MAX_BYTES"):
        check(document())


def _with_models(**user_configs: Any) -> dict[str, Any]:
    """Return a configuration whose deployments have these lists of models."""
    configuration = document()
    configuration["applications"][0]["deployments"] = [
        {"name": name, "user_config": user_config} for name, user_config in user_configs.items()
    ]
    return configuration


def _served(configuration: dict[str, Any]) -> list[str]:
    (_, _, models), *_ = load_applications(configuration)
    return [model.name for model in models.models]


def test_the_deployments_list_of_models_goes_before_the_arguments() -> None:
    models = {"models": [{"name": "all-MiniLM-L6-v2", "alias": "small"}, {"name": "bge-m3"}]}
    configuration = _with_models(Ingress=models, Tokenizer=models, Encoder=models)

    assert _served(configuration) == ["all-MiniLM-L6-v2", "bge-m3"]
    assert _served(document({"model": {"name": "gte-base"}})) == ["gte-base"]


def test_a_list_of_models_that_one_deployment_lacks_or_has_otherwise_is_refused() -> None:
    models = {"models": [{"name": "all-MiniLM-L6-v2"}]}
    other = {"models": [{"name": "all-MiniLM-L12-v2"}]}

    with pytest.raises(ConfigurationError, match="must have the same user_config"):
        check(_with_models(Ingress=models, Encoder=models))
    with pytest.raises(ConfigurationError, match="must have the same user_config"):
        check(_with_models(Ingress=models, Tokenizer=models, Encoder=other))


@pytest.mark.parametrize(
    ("models", "says"),
    [
        ([], "user_config.models: .*at least 1"),
        ([{"nam": "x"}], r"user_config\.models\.0\.nam"),
        ([{"name": "bge-m3"}, {"name": "BAAI/bge-m3"}], "several models are called 'bge-m3'"),
        ([{"name": "all-MiniLM-L6-v2"}, {"name": "no-such-model"}], "no-such-model"),
    ],
)
def test_a_list_of_models_that_cannot_be_served_is_refused(models: Any, says: str) -> None:
    one = {"models": models}

    with pytest.raises(ConfigurationError, match=says):
        check(_with_models(Ingress=one, Tokenizer=one, Encoder=one))


def test_the_arguments_of_another_application_are_not_ours_to_judge() -> None:
    other = {"import_path": "theirs:app", "args": {"anything": 1}}

    check({**document(), "applications": [other]})


def test_a_port_that_is_taken_is_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        says = rf"cannot listen on 127.0.0.1:{port}, where process {os.getpid()} \(.*\) listens"
        with pytest.raises(ConfigurationError, match=says):
            check(document(port=port))


@pytest.mark.parametrize("port", [-1, 70_000])
def test_a_port_that_does_not_exist_is_refused(port: int) -> None:
    with pytest.raises(ConfigurationError, match="choose another"):
        check(document(port=port))


def test_configurations_are_read_as_yaml_dumps_them(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(document({"cache": {"max_bytes": 0}})))

    assert read_config(path) == document({"cache": {"max_bytes": 0}})


def _listening(host: str, arguments: Any = None) -> dict[str, Any]:
    return {**document(arguments), "http_options": {"host": host, "port": 0}}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_loopback_wants_no_keys(host: str) -> None:
    check_exposure(_listening(host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "service.example", ""])
def test_any_other_host_wants_keys(host: str) -> None:
    keys = [{"name": "ops", "sha256": "0" * 64, "scopes": ["read"]}]

    with pytest.raises(ConfigurationError, match=r"has no keys.*embedder key"):
        check_exposure(_listening(host))
    check_exposure(_listening(host, {"keys": keys}))


@pytest.mark.parametrize("field", ["name", "sha256"])
def test_keys_are_told_apart(field: str) -> None:
    keys = [
        {"name": "a", "sha256": "0" * 64, "scopes": ["read"]},
        {"name": "b", "sha256": "1" * 64, "scopes": ["read"]},
    ]
    keys[1][field] = keys[0][field]

    with pytest.raises(ConfigurationError, match=f"several keys have the same {field}"):
        load_arguments({"keys": keys})


def test_a_variable_that_would_do_nothing_beside_a_list_of_models_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    models = {"models": [{"name": "all-MiniLM-L6-v2"}]}
    listed = _with_models(Ingress=models, Tokenizer=models, Encoder=models)
    monkeypatch.setenv("EMBEDDER_MODEL__NAME", "bge-m3")

    with pytest.raises(ConfigurationError, match=r"EMBEDDER_MODEL__NAME would do nothing.*list"):
        check_contents(listed, fetch=False)
    assert _served(document()) == ["bge-m3"]


@pytest.mark.parametrize("name", ["/no/such/folder", "./no-such-folder", "~/no-such-folder"])
def test_a_folder_of_a_model_that_is_missing_is_refused_before_anything_is_fetched(
    name: str,
) -> None:
    with pytest.raises(ConfigurationError, match="no such directory"):
        check_contents(document({"model": {"name": name}}), fetch=False)


def test_a_model_that_only_the_hub_has_is_taken_for_good_where_nothing_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    check_contents(document({"model": {"name": "bge-m3"}}), fetch=False)

    with pytest.raises(ConfigurationError, match="no weights for model 'bge-m3'"):
        check_contents(document({"model": {"name": "bge-m3", "offline": True}}), fetch=False)


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_the_loopback_of_ipv6_is_free_or_taken_as_any_other_address() -> None:
    with socket.socket(socket.AF_INET6) as taken:
        try:
            taken.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6 loopback")
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(ConfigurationError, match="cannot listen on"):
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


@pytest.mark.parametrize("host", ["::1", "fd00::1"])
def test_an_address_behind_which_haproxy_finds_no_replica_is_refused_with_the_reason(
    host: str,
) -> None:
    with pytest.raises(ConfigurationError, match=r"IPv4.*--plain"):
        check_haproxy(_listening(host))
    for other in ("127.0.0.1", "localhost", "0.0.0.0", "::"):
        check_haproxy(_listening(other))
