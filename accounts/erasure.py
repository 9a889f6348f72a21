"""The erasure of a person from everything that is kept (GDPR, article 17), as PERSONAL_DATA tells it.

1. The account is shut out and its sessions end: no new data arrives, but for requests that are under way.
2. What may be much goes in batches, each in a short transaction, which no ingest waits for.
3. In one transaction, under a lock of the account's row, the rest goes and the account with it. A request that is still
   under way has stored its data before, and it goes as well; or it finds the account gone, by its foreign key.
4. Everything is gone through once more: counts that were made meanwhile, and texts that were written.

What ends early, in whatever way, has left the account shut out, and the next run goes on from there.
"""

import time
import uuid
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import IntegrityError, OperationalError, connection, transaction
from django.db.models import Q

from accounts.models import User, normalize_email
from accounts.people import neutral_name
from accounts.personal_data import ERASED_EMAIL
from accounts.services import hold_accounts
from config import limits
from config.personal_data import Holding, Subject, get_holdings
from config.progress import Progress
from config.pseudonyms import pseudonym

_LOCKS: Final = 7_205_003
"""First number of the advisory locks under which one process at a time erases a person; the second is of the person."""
_DEADLOCK: Final = "40P01"


class ErasureError(Exception):
    """Why a person was not erased, in a sentence."""


def find_subject(*, named: str) -> Subject:
    """Return whom an email or the id of an account names; there may be no such account."""
    email = normalize_email(named)
    user_id: uuid.UUID | None
    try:
        found = User.objects.filter(pk=uuid.UUID(named)).first()
        user_id, email = uuid.UUID(named), found.email if found else ""
    except ValueError:
        found = User.objects.filter(email=email).first()
        user_id = found.pk if found else _id_of_deleted(email)
    # As staff see them who may not see emails, so that it may be in the admin's log.
    return Subject(user_id, email, (neutral_name(user_id), pseudonym(user_id)) if user_id else ())


def _id_of_deleted(email: str) -> uuid.UUID | None:
    """Return which account had this email when the admin deleted it, if the admin's log tells of one."""
    deletions = LogEntry.objects.filter(
        content_type=ContentType.objects.get_for_model(User), action_flag=DELETION, object_repr__iexact=email
    )
    ids = set(deletions.exclude(object_id=None).values_list("object_id", flat=True))
    return uuid.UUID(ids.pop()) if len(ids) == 1 else None


@dataclass(slots=True)
class Erasure:
    """An erasure, with what was found, what was erased of it so far, and what is left, all by the holdings' names."""

    subject: Subject
    may_be_staff: bool = False
    holdings: Sequence[Holding] = field(default_factory=get_holdings)
    found: Counter[str] = field(default_factory=Counter)
    erased: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    is_complete: bool = False

    @property
    def is_empty(self) -> bool:
        return not self.found.total()

    def look(self) -> None:
        """Count what there is.

        Raises:
            ErasureError: it is somebody who is not erased.
        """
        self._refuse(User.objects.filter(pk=self.subject.user_id).first() if self.subject.user_id else None)
        self.found = self._count()

    def run(self, progress: Progress) -> None:
        """Erase all of it. Call it outside of a transaction.

        Raises:
            ErasureError: it is somebody who is not erased; another process is erasing them; or something still refers
                to the account, which stays then.
        """
        with self._alone():
            self._shut_out()
            for holding in self.holdings:
                if holding.is_large or holding.is_derived:
                    self._erase_in_batches(holding, progress)
            self._finish()
            for holding in self.holdings:
                self._erase(holding)
            self.left = self._count()
        self.is_complete = not self.left.total()

    def _count(self) -> Counter[str]:
        return Counter({holding.name: holding.count(self.subject) for holding in self.holdings})

    @contextmanager
    def _alone(self) -> Iterator[None]:
        number = zlib.crc32(self.subject.pseudonym.encode()) - (1 << 31)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [_LOCKS, number])
            if not cursor.fetchone()[0]:
                raise ErasureError("Another erase_user is at work on this account.")
        try:
            yield
        finally:
            if connection.is_usable():
                with connection.cursor() as cursor:
                    cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [_LOCKS, number])

    @transaction.atomic
    def _shut_out(self) -> None:
        """Superusers are locked as well: of two that are erased at once, one has to stay."""
        if self.subject.user_id is None:
            return
        concerned = User.objects.filter(Q(pk=self.subject.user_id) | Q(is_superuser=True)).order_by("pk")
        users = {user.pk: user for user in concerned.select_for_update(no_key=True)}
        user = users.get(self.subject.user_id)
        self._refuse(user)
        if user is not None:
            user.is_active = False
            user.save(update_fields=["is_active"])  # ends the sessions

    def _refuse(self, user: User | None) -> None:
        if self.subject.email == ERASED_EMAIL:
            raise ErasureError("This account stands for people who were erased.")
        if user is None:
            return
        others = User.objects.filter(is_superuser=True, is_active=True).exclude(pk=user.pk)
        if user.is_superuser and not others.exists():
            raise ErasureError("This is the last active superuser, who is never erased. Make another one first.")
        if (user.is_staff or user.is_superuser) and not self.may_be_staff:
            raise ErasureError("This is an account of the staff. Say --staff if you mean it.")

    def _erase_in_batches(self, holding: Holding, progress: Progress) -> None:
        total = self.found[holding.name]
        if not total:
            self._erase(holding)
            return
        with progress.counting(f"Erasing: {holding.title}", total, "rows") as advance:
            while count := self._erase(holding, limit=limits.ERASURE_BATCH_ROWS):
                advance(count)

    def _erase(self, holding: Holding, *, limit: int | None = None) -> int:
        def act() -> Counter[str]:
            return Counter({holding.name: holding.erase(self.subject, limit=limit)})

        return self._in_transaction(act).total()

    def _finish(self) -> None:
        def act() -> Counter[str]:
            if self.subject.user_id is not None:
                hold_accounts(user_ids=[self.subject.user_id])
            counts = Counter(
                {holding.name: holding.erase(self.subject) for holding in self.holdings if not holding.is_derived}
            )
            connection.check_constraints()
            return counts

        try:
            self._in_transaction(act)
        except IntegrityError as error:
            table = getattr(getattr(error.__cause__, "diag", None), "table_name", None)
            raise ErasureError(
                f"The table {table} still refers to the account, which therefore stays, shut out: no holding of"
                " PERSONAL_DATA covers that table."
            ) from error

    def _in_transaction(self, act: Callable[[], Counter[str]]) -> Counter[str]:
        """Count what was erased once it is committed. A deadlock with a request or with maintenance is no failure."""
        for tries_left in reversed(range(limits.ERASURE_TRIES)):
            try:
                with transaction.atomic():
                    counts = act()
            except OperationalError as error:
                if not tries_left or getattr(error.__cause__, "sqlstate", "") != _DEADLOCK:
                    raise
                time.sleep(limits.ERASURE_PAUSE_SECONDS)
            else:
                self.erased += counts
                return counts
        raise AssertionError("The last try returns or raises.")
