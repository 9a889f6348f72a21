"""System checks of where artifacts lie and how they are reached."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

from config.errors import ApiError
from storage.access import get_artifact_access
from storage.artifacts import artifact_url


@register("storage")
def check_access(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    try:
        resolved = callable(get_artifact_access().readable_artifacts)
    except (ImportError, AttributeError, TypeError):
        resolved = False
    if resolved:
        return []
    return [
        Error(
            "ARTIFACT_ACCESS doesn't name an implementation of storage.access.ArtifactAccess.",
            hint="It is the dotted path of a class that can be made without arguments.",
            id="storage.E001",
        )
    ]


@register("storage")
def check_oss(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    if not settings.OSS_ENABLED:
        return []
    found: list[CheckMessage] = []
    if not settings.OSS_DOWNLOAD_SIGNED_URL_ENABLED:
        found.append(
            Warning(
                "OSS is on and signed URLs are off: whoever has the URL of a bundle has the bundle.",
                hint="Set OSS_DOWNLOAD_SIGNED_URL_ENABLED to true, unless the CDN guards its URLs itself.",
                id="storage.W001",
            )
        )
    try:
        artifact_url(key="bundle.tar.gz", base_url="")
    except ApiError:
        found.append(
            Error(
                "OSS_ENDPOINT, OSS_CDN_DOMAIN or OSS_BUCKET_NAME is not what OSS takes for one: no URL can be made.",
                id="storage.E002",
            )
        )
    return found


@register("storage")
def check_public_base_url(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    if not settings.PRODUCTION or settings.OSS_ENABLED or settings.PUBLIC_BASE_URL:
        return []
    return [
        Warning(
            "PUBLIC_BASE_URL is not set: download URLs begin with the first name of ALLOWED_HOSTS, over https.",
            hint="Set PUBLIC_BASE_URL to the address at which learners reach this server.",
            id="storage.W002",
        )
    ]
