"""What `embedder deploy` sends to the running service."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from deployments.commands.deploy import _without_passwords
from deployments.launch.services import ServiceInstance
from tests.unit.deployments.launch.test_preflight import document

HERE, ELSEWHERE = "10.0.0.1:6379", "10.0.0.2:6379"


@pytest.mark.parametrize(("address", "hidden"), [(HERE, True), (ELSEWHERE, False)])
def test_a_password_goes_to_the_folder_of_a_service_of_this_machine(
    address: str, hidden: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The nodes of a service elsewhere do not have that folder."""
    service = ServiceInstance(8000, None, 1, 1, str(tmp_path), 20_000)
    for place in ("deployments.commands.deploy", "deployments.operations.addressing"):
        monkeypatch.setattr(f"{place}.ray_addresses", lambda: {HERE: service})
    monkeypatch.setenv("RAY_ADDRESS", address)
    given = document({"index": {"url": "postgresql://user:horse@db/points"}})

    sent = _without_passwords(given, Namespace(port=None, data_directory=None))
    assert ("horse" in str(sent)) is not hidden
    assert len(list(tmp_path.iterdir())) == hidden
