"""The core flow against a server that is already running:

RUN_INTEGRATION=1 BASE_URL=http://127.0.0.1:10723 pytest -m integration
"""

import os

import pytest

from tests.flow import core_flow


@pytest.mark.integration
@pytest.mark.skipif(os.environ.get("RUN_INTEGRATION") != "1", reason="RUN_INTEGRATION=1 is not set")
def test_core_flow_against_a_running_server() -> None:
    base_url = os.environ.get("BASE_URL", "").rstrip("/")
    assert base_url, "BASE_URL must name the server, e.g. http://127.0.0.1:10723"
    core_flow(base_url)


@pytest.mark.django_db(transaction=True)
def test_core_flow_against_a_server_of_our_own(server: str, seeded: None) -> None:
    core_flow(server)
