"""The Chromium of this machine, for the browser tests: none is downloaded."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest
from django.db import connections
from playwright.sync_api import Browser, sync_playwright

CANDIDATES: Final = ("chromium", "chromium-browser", "google-chrome", "/usr/bin/chromium")

QUIET: Final = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""It is to open our pages, and to ask nothing else of any network."""


def find_chromium() -> str | None:
    """Return the path of CHROMIUM, or else of the first candidate that is there."""
    named = os.environ.get("CHROMIUM")
    return next(filter(None, map(shutil.which, [named] if named else CANDIDATES)), None)


@contextmanager
def running_chromium(executable: str) -> Iterator[Browser]:
    """Start Chromium without a window.

    Playwright keeps an event loop running in this thread until it is stopped. Django takes that for asynchronous code
    and refuses queries, which is right where they would hold up a loop, but nothing waits for this one.
    """
    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []  # the sandbox refuses root
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = playwright.chromium.launch(executable_path=executable, args=[*QUIET, *as_root])
        yield browser
        browser.close()
        # While a loop runs, Django keeps other connections than before and after: nobody else would close these.
        connections.close_all()
