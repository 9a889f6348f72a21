"""Addresses as operators write them: with or without a scheme."""

from urllib.parse import urlsplit

from django.conf import settings


def origin(address: str) -> str:
    """Return scheme, host and port; without a scheme it is https."""
    return (address if "://" in address else f"https://{address}").rstrip("/")


def host(address: str) -> str:
    """Return host and port."""
    return urlsplit(origin(address)).netloc


def region() -> str:
    """Return the region's id as signatures and STS have it; OSS's own names put `oss-` before it."""
    return str(settings.OSS_REGION_ID).removeprefix("oss-")
