from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from pytest_django.plugin import DjangoDbBlocker

from tests.live import running_server

NO_CHROMIUM = "The browser tests need Chromium: install it (Debian: apt-get install chromium), or name it in CHROMIUM."


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say why the browser tests were left out, which a letter among thousands doesn't."""
    skipped = [report for report in terminalreporter.getreports("skipped") if NO_CHROMIUM in str(report.longrepr)]
    if skipped:
        terminalreporter.write_line(f"{len(skipped)} tests were skipped. {NO_CHROMIUM}", yellow=True)


@pytest.fixture(scope="module")
def server(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The base URL of a real server with four workers. Tests that use it need `django_db(transaction=True)`."""
    log: Path = tmp_path_factory.mktemp("server") / "log"
    with django_db_blocker.unblock(), running_server(log) as base_url:
        yield base_url


@pytest.fixture
def seeded(transactional_db: None) -> None:
    """The seed data, committed, so that a server sees it."""
    call_command("seed_data", stdout=StringIO())
