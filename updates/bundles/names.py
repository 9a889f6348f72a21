"""Names of files that every client can hold: Windows, macOS and Linux, below a folder of the client's choice.

The rules of Windows are those of Microsoft, "Naming Files, Paths, and Namespaces".
"""

import re
import unicodedata
from typing import Final

from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _
from django_stubs_ext import StrOrPromise

from config import limits
from updates.bundles.base import BundleError, excerpt

_LEADING_DOTS: Final = re.compile(r"\A(\./)+")
_FORBIDDEN: Final = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"\\|?*]')
_DEVICES: Final = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\..*)?", re.IGNORECASE | re.DOTALL
)


def parts_of(name: str, *, is_folder: bool = False) -> list[str]:
    """Split the name of a file or folder in an archive; the root itself has no parts.

    Raises:
        BundleError: no client, or not every client, could make a file of this name below its folder.
    """
    if fault := _whole_fault(name):
        raise BundleError.of(fault, name)
    parts = split(name.rstrip("/") if is_folder else name)
    if len(parts) > limits.BUNDLE_PATH_MAX_PARTS:
        text = _("It lies too deep: {most} parts of a path are the most.")
        raise BundleError.of(format_lazy(text, most=limits.BUNDLE_PATH_MAX_PARTS), name)
    for part in parts:
        if fault := _part_fault(part):
            raise BundleError.of(fault, name)
    return parts


def split(path: str) -> list[str]:
    """Split a path as it is. A leading `./`, as `tar` writes it when asked for `.`, says nothing."""
    path = _LEADING_DOTS.sub("", path, count=1)
    return [] if path in ("", ".") else path.split("/")


def caseless(part: str) -> str:
    """Return what two names have in common that are one on Windows or macOS.

    Canonical caseless matching (The Unicode Standard, 3.13, D145).
    """
    if part.isascii():
        return part.lower()
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", part).casefold())


def _whole_fault(name: str) -> StrOrPromise | None:
    if not name:
        return _("There is a file without a name.")
    if name.startswith("/"):
        return _("Its name is absolute: names must begin at the archive's root.")
    if not is_unicode(name):
        return _("Its name is not valid UTF-8.")
    # Windows counts UTF-16 units.
    if len(name.encode("utf-16-le")) // 2 > limits.BUNDLE_PATH_MAX_CHARACTERS:
        text = _("Its name is too long: {most} characters are the most.")
        return format_lazy(text, most=limits.BUNDLE_PATH_MAX_CHARACTERS)
    return None


def is_unicode(name: str) -> bool:
    """Bytes of a name that aren't UTF-8 were decoded to lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _part_fault(part: str) -> StrOrPromise | None:
    if part in ("", "."):
        return _("Its name has an empty part.")
    if part == "..":
        return _("Its name has the part '..', which leads out of its folder.")
    if found := _FORBIDDEN.search(part):
        text = _("Its name has the character '{character}', which Windows can't hold in a name.")
        return format_lazy(text, character=excerpt(found[0]))
    if part.endswith((".", " ")):
        return _("Its name has a part that ends with a dot or a space, which Windows drops.")
    if _DEVICES.fullmatch(part):
        return format_lazy(_("Its name has the part '{part}', which is a device on Windows."), part=excerpt(part))
    if len(part.encode()) > limits.BUNDLE_PART_MAX_BYTES:
        text = _("Its name has a part of more than {most} bytes, which no file system can hold.")
        return format_lazy(text, most=limits.BUNDLE_PART_MAX_BYTES)
    return None
