"""A browser for the tests of the admin's pages, and the server that it opens."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from playwright.sync_api import Browser, Page, expect
from pytest_django.plugin import DjangoDbBlocker

from tests.browser.chromium import find_chromium, running_chromium
from tests.browser.pages import WIDE, Problems, look_at
from tests.conftest import NO_CHROMIUM
from tests.live import running_server

PATIENCE_MILLISECONDS = 15_000.0


@pytest.fixture(autouse=True)
def _own_store() -> None:
    """Begin without the artifacts of earlier tests, whose versions may have other bytes (see `_empty_store`)."""
    shutil.rmtree(settings.ARTIFACT_ROOT, ignore_errors=True)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, for a module's tests: while it runs, this process can start no event loop of its own."""
    executable = find_chromium()
    if executable is None:
        pytest.skip(NO_CHROMIUM)
    expect.set_options(timeout=PATIENCE_MILLISECONDS)
    with running_chromium(executable) as browser:
        yield browser


@pytest.fixture(scope="module")
def content_types(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> dict[tuple[str, str], int]:
    """The ids of the content types, as the server finds and remembers them."""
    with django_db_blocker.unblock():
        return {(row.app_label, row.model): row.pk for row in ContentType.objects.all()}


def keep(content_types: dict[tuple[str, str], int]) -> None:
    """Give the content types those ids again: a test's end empties their table too, and they come back with others."""
    with transaction.atomic():
        for row in ContentType.objects.all():
            before = content_types.get((row.app_label, row.model), row.pk)
            if before != row.pk:
                Permission.objects.filter(content_type_id=row.pk).update(content_type_id=before)
                ContentType.objects.filter(pk=row.pk).update(id=before)
    ContentType.objects.clear_cache()


@pytest.fixture(scope="module")
def site(
    browser: Browser,
    content_types: dict[tuple[str, str], int],
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """The base URL of a real server with two workers, which shows verification codes and takes uploads."""
    log: Path = tmp_path_factory.mktemp("site") / "log"
    with django_db_blocker.unblock(), running_server(log, WEB_CONCURRENCY="2") as base_url:
        yield base_url


@pytest.fixture
def locale() -> str:
    """The browser's language; a test that takes the parameter `locale` has another."""
    return "en-US"


@pytest.fixture
def page(
    transactional_db: None, browser: Browser, site: str, content_types: dict[tuple[str, str], int], locale: str
) -> Iterator[Page]:
    """A page in a fresh browser, wide and light, which completes paths by the server's address.

    What goes wrong in it by itself fails the test (see `Problems`).
    """
    keep(content_types)
    context = browser.new_context(base_url=site, locale=locale, timezone_id="UTC", reduced_motion="reduce")
    context.set_default_timeout(PATIENCE_MILLISECONDS)
    page = context.new_page()
    problems = Problems(page)
    look_at(page, WIDE)
    yield page
    context.close()
    assert not problems.found, problems.found
