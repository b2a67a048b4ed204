"""The keys file is read again, and no state of it opens the service or ends keys by accident."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from deployments.ingress.middleware import accepted_keys
from deployments.ingress.middleware.accepted_keys import AcceptedKeys
from deployments.ingress.middleware.keys import digest
from deployments.settings.service import ServeSettings
from embedder.core.errors import ConfigurationError
from tests.unit.deployments.ingress.fake_service import FakeService, refusal
from tests.unit.waiting import eventually


def line(name: str, **fields: str) -> str:
    """Return the line for a key that is its own name."""
    further = "".join(f", {field}: {value}" for field, value in fields.items())
    return f"- {{name: {name}, sha256: '{digest(name.encode())}'{further}}}\n"


class KeysFile:
    """A file of keys, and the keys of an ingress that reads it."""

    def __init__(self, path: Path, **settings: object) -> None:
        self.path = path
        self.write(line("one") + line("two"))
        self.settings = ServeSettings.model_validate({"keys_file": str(path), **settings})
        self.keys = AcceptedKeys(self.settings)

    def write(self, content: str) -> None:
        """Write the file in place."""
        self.path.write_text(content)
        self.path.chmod(0o600)

    def names(self) -> list[str]:
        """Return the names of the keys after a change has been found twice."""
        self.keys.reload()
        self.keys.reload()
        return [key.name for key in self.keys.keys]


@pytest.fixture
def file(tmp_path: Path) -> KeysFile:
    return KeysFile(tmp_path / "keys.yaml")


def test_keys_are_added_and_revoked(file: KeysFile, caplog: pytest.LogCaptureFixture) -> None:
    assert file.names() == ["one", "two"]
    with caplog.at_level(logging.INFO, "ray.serve"):
        file.write(line("two", scopes="[write]") + line("three"))

        assert file.names() == ["two", "three"]
        assert file.names() == ["two", "three"]
    assert [record.getMessage() for record in caplog.records] == [
        f"{file.path} is used: 2 keys; new three; changed two; revoked one"
    ]


def test_a_change_is_used_once_two_reads_agree(file: KeysFile) -> None:
    file.write(line("one"))  # the first half of a file that a program still writes
    file.keys.reload()
    file.write(line("one") + line("three"))
    file.keys.reload()
    assert [key.name for key in file.keys.keys] == ["one", "two"]
    file.keys.reload()

    assert [key.name for key in file.keys.keys] == ["one", "three"]


def test_the_link_of_a_mounted_secret_is_followed(tmp_path: Path) -> None:
    """Kubernetes renames a link to a folder with the new files; size and time may be the same."""
    for version, name in enumerate(("one", "two")):
        folder = tmp_path / f"..version-{version}"
        folder.mkdir()
        (folder / "keys.yaml").write_text(line(name))
        (folder / "keys.yaml").chmod(0o644)
        os.utime(folder / "keys.yaml", (1, 1))
    (tmp_path / "..data").symlink_to("..version-0")
    (tmp_path / "keys.yaml").symlink_to("..data/keys.yaml")
    keys = AcceptedKeys(ServeSettings(keys_file=str(tmp_path / "keys.yaml")))
    assert [key.name for key in keys.keys] == ["one"]

    (tmp_path / "..next").symlink_to("..version-1")
    (tmp_path / "..next").rename(tmp_path / "..data")
    keys.reload()
    keys.reload()
    assert [key.name for key in keys.keys] == ["two"]


BROKEN = {
    "empty": "",
    "not YAML": "- {",
    "wrong entry": line("three") + "- {}",
    "duplicate": line("three") * 2,
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_keeps_the_keys_and_is_logged_once(
    file: KeysFile, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    file.write(content)
    for _ in range(3):
        assert file.names() == ["one", "two"]
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == f"{file.keys.problem}; the keys stay as they are"
    assert digest(b"three") not in caplog.text

    file.write(line("four"))
    assert file.names() == ["four"]
    assert file.keys.problem is None


def test_a_missing_or_unsafe_file_keeps_the_keys(file: KeysFile) -> None:
    file.path.chmod(0o666)
    assert file.names() == ["one", "two"]
    assert "other users" in str(file.keys.problem)
    file.path.unlink()
    assert file.names() == ["one", "two"]
    assert "No such file" in str(file.keys.problem)
    file.write(line("one") + line("two"))
    assert file.names() == ["one", "two"]
    assert file.keys.problem is None


def test_a_broken_file_may_be_broken_in_another_way(
    file: KeysFile, caplog: pytest.LogCaptureFixture
) -> None:
    for content in ("", "- {", ""):
        file.write(content)
        file.names()

    assert len(caplog.records) == 3


def test_the_keys_of_the_settings_stay(tmp_path: Path) -> None:
    configured = {"name": "fixed", "sha256": digest(b"fixed")}
    file = KeysFile(tmp_path / "keys.yaml", keys=[configured])
    assert file.names() == ["fixed", "one", "two"]
    file.write(line("fixed"))
    assert file.names() == ["fixed", "one", "two"]
    assert "together: several keys have the same name" in str(file.keys.problem)
    file.write("[]")
    assert file.names() == ["fixed"]


@pytest.mark.parametrize("content", [None, *BROKEN.values()])
def test_an_ingress_does_not_start_without_its_keys(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "keys.yaml"
    if content is not None:
        path.write_text(content)
        path.chmod(0o600)
    with pytest.raises(ConfigurationError, match="keys_file"):
        AcceptedKeys(ServeSettings(keys_file=str(path)))


def test_without_a_file_nothing_is_read() -> None:
    keys = AcceptedKeys(ServeSettings())
    keys.watch()
    keys.reload()

    assert (keys.required, keys.problem, list(keys.keys)) == (False, None, [])


async def _status(service: FakeService, key: str | None) -> int:
    async with service.client() as http:
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        return (await http.get("/v1/models", headers=headers)).status_code


@pytest.mark.parametrize("content", ["[]", "", "- {", None])
async def test_no_change_of_the_file_opens_the_service(file: KeysFile, content: str | None) -> None:
    service = FakeService(keys_file=str(file.path))
    assert await _status(service, "one") == 200
    if content is None:
        file.path.unlink()
    else:
        file.write(content)
    for _ in range(3):
        service.keys.reload()

    assert await _status(service, None) == await _status(service, "three") == 401
    assert await _status(service, "one") == (401 if content == "[]" else 200)


async def test_readiness_reports_a_broken_file_without_its_path(file: KeysFile) -> None:
    service = FakeService(keys_file=str(file.path))
    await service.model(None)
    async with service.client() as http:
        before = await http.get("/readyz")
        file.path.unlink()
        service.keys.reload()
        broken = await http.get("/readyz")

    assert "Keys" not in before.json()["stages"]
    assert broken.status_code == 200
    assert "the keys before it stay" in broken.json()["stages"]["Keys"]
    assert str(file.path.parent) not in broken.text


async def test_a_revoked_key_is_an_unknown_one(file: KeysFile) -> None:
    service = FakeService(keys_file=str(file.path))
    file.write(line("two"))
    service.keys.reload()
    service.keys.reload()
    async with service.client() as http:
        answer = await http.get("/v1/models", headers={"x-api-key": "one"})

    assert refusal(answer) == (401, "invalid_api_key", None)


def test_a_thread_reads_the_file_until_it_is_closed(
    file: KeysFile, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(accepted_keys, "READ_S", 0.001)
    faults = iter([True])
    reload = file.keys.reload

    def failing() -> None:
        if next(faults, False):
            raise RuntimeError("a fault of the product")
        reload()

    monkeypatch.setattr(file.keys, "reload", failing)
    file.write(line("three"))
    file.keys.watch()

    assert eventually(lambda: [key.name for key in file.keys.keys] == ["three"])
    assert "a fault of the product" in caplog.text
    file.keys.close()
