from collections.abc import Callable

import pytest
from django.core.checks import run_checks
from pytest_django.fixtures import Settings


def found() -> set[str]:
    return {str(message.id) for message in run_checks(tags=["storage"])}


def test_nothing_to_say() -> None:
    assert found() == set()


def test_nothing_to_say_with_oss(use_oss: Callable[..., None]) -> None:
    use_oss()

    assert found() == set()


def test_unsigned_urls(use_oss: Callable[..., None]) -> None:
    use_oss(OSS_DOWNLOAD_SIGNED_URL_ENABLED=False)

    assert found() == {"storage.W001"}


@pytest.mark.parametrize(
    "wrong", [{"OSS_ENDPOINT": "not an address"}, {"OSS_BUCKET_NAME": "No_Bucket"}, {"OSS_CDN_DOMAIN": "not a domain"}]
)
def test_settings_that_make_no_url(use_oss: Callable[..., None], wrong: dict[str, str]) -> None:
    use_oss(**wrong)

    assert found() == {"storage.E002"}


def test_no_public_base_url_in_production(settings: Settings, use_oss: Callable[..., None]) -> None:
    settings.PRODUCTION = True
    assert found() == {"storage.W002"}

    settings.PUBLIC_BASE_URL = "https://api.example.com"
    assert found() == set()

    settings.PUBLIC_BASE_URL = ""
    use_oss()
    assert found() == set()


@pytest.mark.parametrize(
    "path", ["storage.nowhere.Access", "storage.access.Nothing", "nonsense", "storage.tests.access.NoAccess"]
)
def test_an_access_that_does_not_resolve(settings: Settings, path: str) -> None:
    settings.ARTIFACT_ACCESS = path

    assert found() == {"storage.E001"}
