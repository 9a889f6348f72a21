"""What is kept of a person. Each room says what it holds, why and for how long, hands it out, and erases it.

The setting PERSONAL_DATA names the sources, in the order of erasure: a room that refers to another one's rows comes
before it, and the accounts come last. A table that refers to a person and that no holding covers fails a test.
"""

import json
import re
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Final, Protocol, cast

from django.conf import settings
from django.core.cache import cache
from django.db.models import F, Model, Q, QuerySet, TextField, Value
from django.db.models.functions import Cast, Lower, StrIndex
from django.db.models.lookups import GreaterThan
from django.utils.module_loading import import_string

from config import limits
from config.pseudonyms import keyed_hasher, pseudonym

ERASED: Final = "erased account"
"""What stands for a person in what stays: the audit of what staff did."""

SOME_EMAIL: Final = re.compile(r"(?:\"[^\"\s]{1,64}\"|[^\s,;:<>()\"“”]+)@[^\s,;:<>()\"“”]*[^\s,;:<>()\"“”.]")
"""An address in a text, without what encloses it or ends the sentence. Its local part may be quoted (RFC 5322)."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Subject:
    """The person whom the data is about: the "data subject" of the GDPR, article 4(1).

    Without a `user_id` there is no account of this email, and without an email the account is gone already: what
    other tables say of either can still be found. `other_names`, in lower case, stand for nobody else.
    """

    user_id: uuid.UUID | None
    email: str
    other_names: tuple[str, ...] = ()

    @property
    def pseudonym(self) -> str:
        """Stand for the person in a report; whose account there was has the same in exports for research."""
        return pseudonym(self.user_id) if self.user_id else keyed_hasher("email")(self.email)

    @property
    def needles(self) -> list[str]:
        """Texts, in lower case, of which a text that names the person holds one; it may hold one and not name them.

        Names in the admin's log are cut, and JSON escapes characters that an email may have.
        """
        email = self.email[: limits.AUDIT_NAME_MAX_LENGTH]
        texts = [email, json.dumps(email)[1:-1]] if email else []
        return list(dict.fromkeys([*texts, *([str(self.user_id)] if self.user_id else []), *self.other_names]))

    def is_named_in(self, value: Any) -> bool:
        return bool(self.scrub(value) != value)

    def scrub(self, value: Any) -> Any:
        """Put ERASED in the place of the person's email and id in a text, or in all texts of a JSON value."""
        if isinstance(value, str):
            return _pattern(self).sub(ERASED, value)
        if isinstance(value, list):
            return [self.scrub(item) for item in value]
        if isinstance(value, dict):
            return {self.scrub(name): self.scrub(item) for name, item in value.items()}
        return value

    def hide_others(self, text: str) -> str:
        """Leave out the emails of others: a copy must not harm their rights (GDPR, article 15(4))."""
        return SOME_EMAIL.sub(lambda found: found[0] if self.is_named_in(found[0]) else "(another person)", text)


@lru_cache(maxsize=16)
def _pattern(subject: Subject) -> re.Pattern[str]:
    """Match the email and the id, and no longer address that has this one in it.

    Characters around it are those that an address may have (RFC 5322, section 3.2.3). A dot after it ends a sentence
    unless more of a domain follows. A quotation mark before it is part of an address only after a letter.
    """
    begins = r"(?<![\w.!#$%&*+/=?^`{|}~-])(?<!\w')"
    ends = r"(?![\w-]|\.\w)"
    forms = [re.escape(text) for text in subject.other_names]
    if subject.user_id:
        forms.append(re.escape(str(subject.user_id)))
    if subject.email:
        forms += map(re.escape, dict.fromkeys((subject.email, json.dumps(subject.email)[1:-1])))
    if len(subject.email) > limits.AUDIT_NAME_MAX_LENGTH:
        forms.append(re.escape(subject.email[: limits.AUDIT_NAME_MAX_LENGTH]) + r"\Z")
    return re.compile(f"{begins}(?:{'|'.join(forms)}){ends}", re.IGNORECASE)


class Holding(ABC):
    """One kind of what is kept of a person. The texts answer GDPR, article 15(1), and are shown to them.

    Attributes:
        name: of its file in an export, and in reports.
        tables: that it covers, all that the person's rows in them hold.
        purpose: why it is kept (a); `recipients`: who sees it (c); `kept_for`: how long (d); `origin`: where it comes
            from (g); `withheld`: what of it an export leaves out, and why.
        is_portable: the person provided it, or their use of the app did (article 20, as WP 242 reads it).
        upon_erasure: what becomes of it. Where something `stays`, the person is replaced by ERASED.
        is_large: it is exported line by line, and erased in batches first.
        is_derived: it is counted from other holdings, and erased once more after them.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    tables: ClassVar[Sequence[str]]
    purpose: ClassVar[str]
    origin: ClassVar[str]
    recipients: ClassVar[str] = "Staff of the operator."
    kept_for: str
    withheld: ClassVar[str] = ""
    is_portable: ClassVar[bool] = False
    upon_erasure: ClassVar[str] = "Deleted."
    stays: ClassVar[bool] = False
    is_large: ClassVar[bool] = False
    is_derived: ClassVar[bool] = False

    @abstractmethod
    def count(self, subject: Subject) -> int: ...

    @abstractmethod
    def read(self, subject: Subject) -> Iterator[Row]:
        """Yield the rows, without secrets and without what others are known by, in constant memory."""

    @abstractmethod
    def erase(self, subject: Subject, *, limit: int | None = None) -> int:
        """Erase all, or at most about `limit` rows, in the caller's transaction; return how many they were.

        Doing it again does no harm.
        """


class RowsHolding(Holding):
    """A holding whose rows refer to the account, and are deleted.

    Attributes:
        columns: name in the export → field, or expression.
    """

    columns: ClassVar[Mapping[str, Any]]

    @abstractmethod
    def rows(self, user_id: uuid.UUID) -> QuerySet[Any]: ...

    def count(self, subject: Subject) -> int:
        return self.rows(subject.user_id).count() if subject.user_id else 0

    def read(self, subject: Subject) -> Iterator[Row]:
        if subject.user_id is None:
            return
        named = [F(field) if isinstance(field, str) else field for field in self.columns.values()]
        # By place: a column of the export may have the name of another field.
        values = self.rows(subject.user_id).values_list(*named).iterator(limits.PERSONAL_DATA_ROWS_READ)
        for row in values:
            yield dict(zip(self.columns, row, strict=True))

    def erase(self, subject: Subject, *, limit: int | None = None) -> int:
        return self.rows(subject.user_id).delete()[0] if subject.user_id else 0


class CountersHolding(Holding):
    """Counts of rate limits under the person's email or id."""

    title = "Counters of rate limits"
    tables = ("config_counter",)
    purpose = "To keep the service available for everybody, and guessing expensive."
    origin = "Counted by the server from requests."
    recipients = "Nobody."

    @abstractmethod
    def counters(self, subject: Subject) -> Sequence[tuple[str, str]]:
        """Return (name, key in the cache) of those that there may be."""

    def count(self, subject: Subject) -> int:
        return sum(1 for _ in self.read(subject))

    def read(self, subject: Subject) -> Iterator[Row]:
        for name, key in self.counters(subject):
            if (value := cache.get(key)) is not None:
                yield {"counter": name, "value": value}

    def erase(self, subject: Subject, *, limit: int | None = None) -> int:
        return sum(cache.delete(key) for _, key in self.counters(subject))


class MentionsHolding(Holding):
    """Texts that may name the person, and stay without them.

    Attributes:
        model, fields: where they are.
    """

    stays = True
    upon_erasure = f'Kept with "{ERASED}" in the place of the person.'
    model: ClassVar[type[Model]]
    fields: ClassVar[Sequence[str]]

    def count(self, subject: Subject) -> int:
        return sum(1 for _ in self.scrubbed(subject))

    def read(self, subject: Subject) -> Iterator[Row]:
        for row in self.candidates(subject).iterator(limits.PERSONAL_DATA_ROWS_READ):
            shown = self.show(row, subject)
            if self.scrub(row, subject):
                yield shown

    def erase(self, subject: Subject, *, limit: int | None = None) -> int:
        erased = 0
        for row, changed in self.scrubbed(subject):
            erased += 1
            row.save(update_fields=changed)
        return erased

    def candidates(self, subject: Subject) -> QuerySet[Any]:
        """Return the rows that may have to be changed. It reads the whole table."""
        condition = Q(pk__in=[])
        for field in self.fields:
            text = Lower(Cast(field, TextField()))
            for needle in subject.needles:
                condition |= Q(GreaterThan(StrIndex(text, Value(needle)), 0))
        return self.model._base_manager.filter(condition)

    def scrubbed(self, subject: Subject) -> Iterator[tuple[Any, list[str]]]:
        """Yield the rows that the erasure changes, changed but not saved, and which fields changed."""
        for row in self.candidates(subject).iterator(limits.PERSONAL_DATA_ROWS_READ):
            if changed := self.scrub(row, subject):
                yield row, changed

    def scrub(self, row: Any, subject: Subject) -> list[str]:
        """Take the person out of a row; return the fields that this changed."""
        changed = [field for field in self.fields if subject.is_named_in(getattr(row, field))]
        for field in changed:
            setattr(row, field, subject.scrub(getattr(row, field)))
        return changed

    @abstractmethod
    def show(self, row: Any, subject: Subject) -> Row:
        """Return what an export has of a row, without other people."""


class Source(Protocol):
    """Returns what one room holds."""

    def __call__(self) -> Sequence[Holding]: ...


def get_sources() -> list[Source]:
    """Load what the settings name."""
    return [cast(Source, import_string(path)) for path in settings.PERSONAL_DATA]


def get_holdings() -> list[Holding]:
    """Return the holdings of all rooms, in the order of erasure."""
    return [holding for source in get_sources() for holding in source()]
