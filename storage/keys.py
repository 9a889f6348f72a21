"""Object keys: relative paths with `/` between their parts."""

from typing import Final

from django.core.exceptions import SuspiciousFileOperation

_PART_MAX_BYTES: Final = 255  # NAME_MAX of Linux file systems
_KEY_MAX_BYTES: Final = 1023  # OSS object names


def check_key(key: str) -> str:
    """Return the key when it is one that the store may hold.

    Parts must not start with a dot: that shuts out `.` and `..`, and keeps the store's own temporary folder apart.

    Raises:
        SuspiciousFileOperation: absolute, or with an empty, hidden or overlong part, a backslash, or characters
            that are not printable.
    """
    parts = key.split("/")
    if (
        not key.isprintable()
        or "\\" in key
        or len(key.encode("utf-8", "surrogatepass")) > _KEY_MAX_BYTES
        or any(
            not part or part.startswith(".") or len(part.encode("utf-8", "surrogatepass")) > _PART_MAX_BYTES
            for part in parts
        )
    ):
        raise SuspiciousFileOperation("This is not a key of an artifact.")
    return key


def is_key(name: str) -> bool:
    """Tell keys of artifacts from what others put into the same folder or bucket: hidden files, folder objects."""
    try:
        check_key(name)
    except SuspiciousFileOperation:
        return False
    return True


def folder_of(key: str) -> str:
    """Return the key's folder with its final `/`, or the key itself when it lies in none: "" would mean everything."""
    folder, separator, _name = key.rpartition("/")
    return folder + separator if separator else key
