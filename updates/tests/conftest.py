"""Fixtures of the release tests."""

from pathlib import Path

import pytest
from pytest_django import Settings


@pytest.fixture(autouse=True)
def artifact_root(settings: Settings, tmp_path: Path) -> Path:
    """A store of its own for each test: a store keeps what it has for ever."""
    settings.ARTIFACT_ROOT = tmp_path / "artifacts"
    return tmp_path / "artifacts"


@pytest.fixture
def calm_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture that was read stays fresh for the test, so that its renewal is not counted among the queries."""
    monkeypatch.setattr("config.limits.CATALOGUE_MAX_AGE_SECONDS", 600)
