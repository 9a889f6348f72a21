"""System checks of settings that are allowed, but that an operator should know about."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.utils.module_loading import import_string


@register("configuration")
def check_deployment(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    if settings.ACCESS_TOKEN_EXPIRE_SECONDS <= 310:
        found.append(
            Warning(
                "Access tokens of 310 s or less make desktop clients refresh before every call.",
                hint="Set ACCESS_TOKEN_EXPIRE_SECONDS to 600 or more; 3600 is the default.",
                id="config.W001",
            )
        )
    if settings.PRODUCTION and settings.SEED_DATA:
        found.append(
            Warning(
                "SEED_DATA is true in production: the demonstration course SOC101 is published to learners.",
                hint="Set SEED_DATA to false unless this is a demonstration.",
                id="config.W002",
            )
        )
    if settings.EMAIL_SENDER_BACKEND == "smtp" and not (settings.EMAIL_HOST and settings.DEFAULT_FROM_EMAIL):
        found.append(
            Warning(
                "Mail goes by SMTP, but SMTP_HOST or SMTP_FROM_EMAIL is empty: nobody can register.",
                hint="Set both.",
                id="config.W003",
            )
        )
    return found


@register("admin")
def check_sources(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """What the settings name is there; without it the first page, the search or an erasure would fail."""
    return [
        Error(
            f"{name} names something that is no function.",
            hint="It is a list of dotted paths, see config.overview, config.search and config.personal_data.",
            id=check_id,
        )
        for name, check_id in (
            ("ADMIN_OVERVIEW", "config.E001"),
            ("ADMIN_SEARCH", "config.E002"),
            ("PERSONAL_DATA", "config.E003"),
        )
        if not all(map(_is_function, getattr(settings, name)))
    ]


def _is_function(path: str) -> bool:
    try:
        return callable(import_string(path))
    except ImportError:
        return False
