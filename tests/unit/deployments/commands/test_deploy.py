"""What `embedder deploy` sends to the running service."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.commands.deploy import _without_passwords
from deployments.launch.services.choice import Candidate
from deployments.launch.services.instances import ServiceInstance
from tests.unit.deployments.launch.test_preflight import document


@pytest.mark.parametrize("hidden", [True, False])
def test_a_password_goes_to_the_folder_of_a_service_of_this_machine(
    hidden: bool, tmp_path: Path
) -> None:
    """The nodes of a service elsewhere do not have that folder."""
    service = ServiceInstance(8000, None, 1, 1, str(tmp_path), 20_000)
    given = document({"index": {"url": "postgresql://user:horse@db/points"}})

    sent = _without_passwords(given, Candidate("10.0.0.1:6379", service if hidden else None))
    assert ("horse" in str(sent)) is not hidden
    assert len(list(tmp_path.iterdir())) == hidden
