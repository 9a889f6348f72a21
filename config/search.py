"""One search over everything that staff look for; each room that has something to find brings a source of its own.

The setting ADMIN_SEARCH names the sources, in the order in which their finds are shown.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast
from urllib.parse import quote

from django.conf import settings
from django.utils.module_loading import import_string

from config import limits


class Person(Protocol):
    """Whoever looks; sees only what they may."""

    def has_perm(self, perm: str) -> bool: ...


def may_view(person: Person, model: str) -> bool:
    """Say whether this person may see rows of a model such as `courses.course`, as Django's admin does."""
    app, _, name = model.partition(".")
    return any(person.has_perm(f"{app}.{verb}_{name}") for verb in ("view", "change"))


@dataclass(frozen=True, slots=True)
class Query:
    """What was searched for: the text without what surrounds it, and its words in lower case."""

    text: str
    words: tuple[str, ...]

    @classmethod
    def of(cls, typed: str) -> "Query":
        text = " ".join(typed.split())[: limits.ADMIN_SEARCH_MAX_CHARACTERS]
        return cls(text, tuple(text.lower().split()[: limits.ADMIN_SEARCH_WORDS_MAX]))

    @property
    def quoted(self) -> str:
        """The text, for the address of a list that has all finds."""
        return quote(self.text)

    @property
    def is_too_short(self) -> bool:
        """A single letter finds everything; a single character of Chinese is a word."""
        return len(self.text) < 2 and self.text.isascii()


@dataclass(frozen=True, slots=True)
class Hit:
    """One find: its name, what else tells it from others, and its page."""

    title: str
    detail: str
    url: str


@dataclass(frozen=True, slots=True)
class Hits:
    """The finds of one kind, the likeliest first. `all_url` is a list that has them all; empty: there is none."""

    heading: str
    icon: str
    hits: Sequence[Hit]
    all_url: str = ""
    more: bool = False


class SearchSource(Protocol):
    """Finds one room's things; each kind that the person may see, at most `limit` of it, by a bounded query."""

    def __call__(self, *, person: Person, query: Query, limit: int) -> Iterable[Hits]: ...


def get_search_sources() -> list[SearchSource]:
    """Load what the settings name."""
    return [cast(SearchSource, import_string(path)) for path in settings.ADMIN_SEARCH]


def search(*, person: Person, query: Query, limit: int) -> list[Hits]:
    """Return what was found, kind by kind; kinds without a find are left out."""
    if query.is_too_short:
        return []
    found = (hits for source in get_search_sources() for hits in source(person=person, query=query, limit=limit))
    return [hits for hits in found if hits.hits]


def cut(heading: str, icon: str, rows: Sequence[Hit], limit: int, all_url: str = "") -> Hits:
    """Make the finds of a kind from rows that were asked for with one more than the limit."""
    return Hits(heading, icon, rows[:limit], all_url, more=len(rows) > limit)
