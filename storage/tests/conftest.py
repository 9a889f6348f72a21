from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from storage.access import ReadableArtifact
from storage.tests import oss_server, servers
from storage.tests.access import HandmadeAccess
from tests.cast import Actor


@pytest.fixture
def artifact_root(settings: Settings, tmp_path: Path) -> Path:
    settings.ARTIFACT_ROOT = tmp_path / "artifacts"
    return tmp_path / "artifacts"


@pytest.fixture
def may_read(settings: Settings) -> Iterator[Callable[..., None]]:
    """Say what somebody may read: a key, or a pair of a key and its aliases."""
    settings.ARTIFACT_ACCESS = "storage.tests.access.HandmadeAccess"
    HandmadeAccess.readable = {}

    def allow(actor: Actor, *artifacts: str | tuple[str, tuple[str, ...]]) -> None:
        pairs = [artifact if isinstance(artifact, tuple) else (artifact, ()) for artifact in artifacts]
        HandmadeAccess.readable[actor.user.pk] = [ReadableArtifact(key, aliases) for key, aliases in pairs]

    yield allow
    HandmadeAccess.readable = {}


@pytest.fixture
def use_oss(settings: Settings) -> Callable[..., None]:
    """Switch to OSS with settings as an operator may write them."""

    def switch(**overrides: Any) -> None:
        values = {
            "OSS_ENABLED": True,
            "OSS_REGION_ID": "cn-hangzhou",
            "OSS_ENDPOINT": "oss-cn-hangzhou.aliyuncs.com",
            "OSS_BUCKET_NAME": servers.BUCKET,
            "OSS_CDN_DOMAIN": "",
            "OSS_ACCESS_KEY_ID": servers.ACCESS_KEY_ID,
            "OSS_ACCESS_KEY_SECRET": servers.ACCESS_KEY_SECRET,
            "OSS_ROLE_ARN": "",
            "OSS_STS_ENDPOINT": "",
            "OSS_DOWNLOAD_SIGNED_URL_ENABLED": True,
            "OSS_SIGNATURE_VERSION": "v4",
            "STORAGES": {**settings.STORAGES, "artifacts": {"BACKEND": "storage.oss.OssArtifactStorage"}},
        }
        for name, value in (values | overrides).items():
            setattr(settings, name, value)

    return switch


@pytest.fixture
def signature_version() -> str:
    """Of the OSS that `oss` runs. Tests run with both by parametrizing it."""
    return "v4"


@pytest.fixture
def oss(
    use_oss: Callable[..., None], signature_version: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[oss_server.OssServer]:
    """An OSS that checks signatures, with one bucket, in use. Requests that fail are made again without a pause."""
    monkeypatch.setattr("config.limits.OSS_BACKOFF_SECONDS", 0.0)
    with servers.running(oss_server.OssServer(signature_version)) as server:
        use_oss(OSS_ENDPOINT=f"http://{server.address}", OSS_SIGNATURE_VERSION=signature_version)
        yield server


@pytest.fixture
def sts(use_oss: Callable[..., None]) -> Iterator[servers.Server]:
    """An STS that checks signatures, in use beside OSS."""
    with servers.running(servers.Server(servers.StsHandler)) as server:
        use_oss(OSS_ROLE_ARN="acs:ram::1:role/learner", OSS_STS_ENDPOINT=f"http://{server.address}")
        yield server
