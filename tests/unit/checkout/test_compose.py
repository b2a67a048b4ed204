"""compose.yaml is valid, its files exist, and no container can do more than it needs."""

from __future__ import annotations

import ipaddress
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.settings.access import Scope
from deployments.settings.keys_file import parse_keys, read_keys_file
from deployments.settings.service import ServeSettings
from embedder.settings.sources import load

ROOT = Path(__file__).parents[3]
FILES = ("compose.yaml", "compose.gpu.yaml")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
every_service = pytest.mark.parametrize("name", sorted(SERVICES))


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """Return a folder with the secrets that the program makes."""
    program = tmp_path / "make_secrets.sh"
    program.write_bytes((ROOT / "deploy" / "make_secrets.sh").read_bytes())
    for _ in range(2):
        subprocess.run(["sh", program], check=True, capture_output=True)
    return tmp_path / "secrets"


def test_the_files_are_what_the_specification_describes() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, *FILES], cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_services_are_the_stores_and_the_monitoring_beside_the_service() -> None:
    assert sorted(SERVICES) == ["embedder", "grafana", "postgres", "prometheus", "valkey"]


@every_service
def test_no_container_can_do_more_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    limits = service["deploy"]["resources"]["limits"]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert {"cpus", "memory", "pids"} <= limits.keys()
    assert service["logging"]["options"]["max-size"]


@every_service
def test_every_container_has_a_health_check(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")


@every_service
def test_ports_are_published_on_loopback_only(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        address, _, _ = port.split(":")
        assert ipaddress.ip_address(address).is_loopback


@every_service
def test_a_service_waits_for_services_that_are_healthy(name: str) -> None:
    for other, state in SERVICES[name].get("depends_on", {}).items():
        assert other in SERVICES
        assert state == {"condition": "service_healthy"}


@every_service
def test_every_image_has_a_version(name: str) -> None:
    _, _, tag = SERVICES[name]["image"].partition(":")

    assert tag
    assert (tag == "latest") == ("build" in SERVICES[name])


@every_service
def test_files_volumes_secrets_and_networks_that_are_named_exist(name: str) -> None:
    for mounted in SERVICES[name].get("volumes", []):
        source, _, _ = mounted.partition(":")
        assert (ROOT / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]
    assert set(SERVICES[name].get("secrets", [])) <= COMPOSE["secrets"].keys()
    assert set(SERVICES[name].get("networks", [])) <= {"default", *COMPOSE["networks"]}


def test_only_the_service_reaches_its_stores() -> None:
    assert COMPOSE["networks"]["stores"]["internal"] is True
    for store in ("postgres", "valkey"):
        assert SERVICES[store]["networks"] == ["stores"]
    for other in ("prometheus", "grafana"):
        assert "networks" not in SERVICES[other]


def test_every_secret_is_made_is_private_and_is_kept(secrets: Path) -> None:
    made = {Path(secret["file"]).name for secret in COMPOSE["secrets"].values()}

    assert made <= set(os.listdir(secrets))
    assert secrets.stat().st_mode & 0o777 == 0o700
    for name in made:
        assert (secrets / name).stat().st_mode & 0o777 == 0o644
        assert (secrets / name).read_text().strip()


def test_git_ignores_the_secrets() -> None:
    assert "deploy/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_the_variables_are_settings_and_the_secrets_their_values(secrets: Path) -> None:
    environment = {
        name: value.replace("/run/secrets", str(secrets))
        for name, value in SERVICES["embedder"]["environment"].items()
    }
    settings = load(ServeSettings, environment=environment).settings
    password = (secrets / "postgres_password").read_text()

    assert settings.index.url is not None
    assert settings.index.url.get_secret_value() == (
        f"postgresql://embedder:{password}@postgres:5432/points"
    )
    assert settings.cache.url is not None
    assert settings.cache.url.get_secret_value().endswith("@valkey:6379/0")
    keys_file = Path(str(settings.keys_file))
    (key,) = parse_keys(read_keys_file(keys_file), keys_file)
    assert key.scopes == tuple(Scope)


def test_the_database_has_the_name_and_the_user_of_the_url(secrets: Path) -> None:
    environment = SERVICES["postgres"]["environment"]
    url = (secrets / "index_url").read_text()

    assert url.startswith(f"postgresql://{environment['POSTGRES_USER']}:")
    assert url.strip().endswith(f"/{environment['POSTGRES_DB']}")


def test_the_service_has_shared_memory_for_rays_object_store() -> None:
    """Ray takes 30 % of the memory, and no more than 95 % of the shared memory."""
    shared, limit = SERVICES["embedder"]["shm_size"], SERVICES["embedder"]["deploy"]["resources"]

    assert int(shared.removesuffix("m")) * 0.99 >= (
        int(limit["limits"]["memory"].removesuffix("g")) * 1024 * 0.3
    )


def test_prometheus_and_grafana_read_the_files_of_monitoring() -> None:
    targets = [mounted.split(":")[1] for mounted in SERVICES["prometheus"]["volumes"]]
    config = yaml.safe_load((ROOT / "monitoring" / "prometheus.yml").read_text())
    (files,) = [job["file_sd_configs"][0]["files"] for job in config["scrape_configs"]]
    grafana = SERVICES["grafana"]["environment"]
    provisioning = ROOT / "monitoring" / Path(grafana["GF_PATHS_PROVISIONING"]).name

    assert [f"/etc/prometheus/{name}" in targets for name in config["rule_files"]] == [True]
    assert all(file.startswith("/tmp/ray/") and "/tmp/ray" in targets for file in files)
    for path in provisioning.rglob("*.yml"):
        for variable in ("MONITORING", "PROMETHEUS", "RAY_SESSION"):
            assert f"${{{variable}}}" not in path.read_text() or variable in grafana
