"""What is said of an archive: its faults, and what an inspection found."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import IO, Any

from django.utils.text import format_lazy
from django.utils.translation import ngettext_lazy
from django_stubs_ext import StrOrPromise

from config import limits
from config.errors import joined


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with an archive, as a sentence for the person who made it."""

    path: str
    """The file in the archive that it is about; empty: the archive as a whole."""
    reason: StrOrPromise

    @classmethod
    def about(cls, path: str, reason: StrOrPromise) -> "Fault":
        """A fault of a file whose name comes from the archive, and so may be anything."""
        return cls(excerpt(path), reason)

    @property
    def sentence(self) -> StrOrPromise:
        """The reason, and before it the file."""
        return format_lazy("{path}: {reason}", path=self.path, reason=self.reason) if self.path else self.reason

    def __str__(self) -> str:
        return str(self.sentence)


class BundleError(ValueError):
    """An archive that can't be a release, with all faults that were found."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__(*faults)
        self.faults: Sequence[Fault] = faults

    @property
    def sentences(self) -> StrOrPromise:
        """All faults, one after the other."""
        return joined((fault.sentence for fault in self.faults), " ")

    def __str__(self) -> str:
        return str(self.sentences)

    @classmethod
    def of(cls, reason: StrOrPromise, path: str = "") -> "BundleError":
        return cls(Fault.about(path, reason))

    def naming(self, path: str) -> "BundleError":
        """The same, said of a file where it was said of the whole archive."""
        return BundleError(*(fault if fault.path else Fault.about(path, fault.reason) for fault in self.faults))


@dataclass(frozen=True, slots=True)
class Inspection:
    """An archive without faults."""

    sha256: str
    """64 lower-case hexadecimal digits, of the archive's bytes."""
    size_bytes: int
    manifest: dict[str, Any]
    warnings: tuple[StrOrPromise, ...] = ()
    """Sentences for the person who made it."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """An archive that was built here, in a seekable file."""

    file: IO[bytes]
    sha256: str
    size_bytes: int
    manifest: dict[str, Any]


def refuse_if_any(faults: Iterable[Fault]) -> None:
    """Raise what was found, up to `BUNDLE_FAULTS_MAX` faults, and then how many more there are.

    Raises:
        BundleError: there is at least one.
    """
    remaining = iter(faults)
    found = list(islice(remaining, limits.BUNDLE_FAULTS_MAX))
    if more := sum(1 for _ in remaining):
        text = ngettext_lazy("There is {more} more fault.", "There are {more} more faults.", more)
        found.append(Fault("", format_lazy(text, more=f"{more:,}")))
    if found:
        raise BundleError(*found)


def excerpt(text: str) -> str:
    """Return what a stranger wrote so that it can be stored, logged and shown: printable, and not too long."""
    cut = text[: limits.BUNDLE_EXCERPT_MAX_CHARACTERS]
    printable = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in cut)
    return printable if cut == text else f"{printable}…"
