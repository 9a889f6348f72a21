"""The admin's first page: is everything all right? Each room that knows something of it brings cards of its own.

The setting ADMIN_OVERVIEW names the sources, in the order in which their cards are shown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from django.conf import settings
from django.utils.module_loading import import_string

from config.search import Person


@dataclass(frozen=True, slots=True)
class Attention:
    """Something that somebody should look at, as a sentence, and where; or should only know, when it isn't urgent."""

    text: str
    url: str
    is_urgent: bool = True


@dataclass(frozen=True, slots=True)
class Card:
    """A part of the page: a template and what it shows."""

    template: str
    context: Mapping[str, Any]
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """What a source tells a person. No cards: they may see nothing of it."""

    attention: Sequence[Attention] = ()
    cards: Sequence[Card] = ()

    @property
    def urgent(self) -> int:
        """How many things somebody should look at."""
        return sum(item.is_urgent for item in self.attention)

    @property
    def notes(self) -> Sequence[Attention]:
        """What is good to know, and no problem."""
        return [item for item in self.attention if not item.is_urgent]


class OverviewSource(Protocol):
    """Tells what the person may see of one room, by a fixed number of queries."""

    def __call__(self, *, person: Person) -> Report: ...


def get_overview_sources() -> list[OverviewSource]:
    """Load what the settings name."""
    return [cast(OverviewSource, import_string(path)) for path in settings.ADMIN_OVERVIEW]


def overview(*, person: Person) -> Report:
    """Return what all sources tell this person, as one."""
    reports = [source(person=person) for source in get_overview_sources()]
    return Report(
        attention=[item for report in reports for item in report.attention],
        cards=[card for report in reports for card in report.cards],
    )
