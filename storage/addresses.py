"""Addresses as operators write them: with or without a scheme."""

from urllib.parse import urlsplit


def origin(address: str) -> str:
    """Return scheme, host and port; without a scheme it is https."""
    return (address if "://" in address else f"https://{address}").rstrip("/")


def host(address: str) -> str:
    """Return host and port."""
    return urlsplit(origin(address)).netloc
