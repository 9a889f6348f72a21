"""Fixtures of the release tests."""

from pathlib import Path

import pytest
from pytest_django import Settings
from rest_framework.test import APIClient

from updates.tests.pipelines import ADMIN_API_KEY, client_of


@pytest.fixture(autouse=True)
def artifact_root(settings: Settings, tmp_path: Path) -> Path:
    """A store of its own for each test: a store keeps what it has for ever."""
    settings.ARTIFACT_ROOT = tmp_path / "artifacts"
    return tmp_path / "artifacts"


@pytest.fixture
def calm_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture that was read stays fresh for the test, so that its renewal is not counted among the queries."""
    monkeypatch.setattr("config.limits.CATALOGUE_MAX_AGE_SECONDS", 600)


@pytest.fixture
def operator(db: None, settings: Settings) -> APIClient:
    """A pipeline that has ADMIN_API_KEY, and so may do everything."""
    settings.ADMIN_API_KEY = ADMIN_API_KEY
    return client_of(ADMIN_API_KEY)
