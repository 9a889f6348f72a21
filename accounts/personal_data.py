"""What the accounts hold of a person: the account, its devices, its logins, and the admin's log of staff's acts."""

import json
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, Final

from django.contrib import admin
from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.db import connection
from django.db.models import CASCADE, Case, Q, QuerySet, Value, When
from django.utils import timezone

from accounts.models import DeviceSession, EmailVerificationCode, User
from accounts.people import LEARNERS
from accounts.services import code_counter_keys
from config import limits
from config.models import Counter
from config.personal_data import (
    ERASED,
    CountersHolding,
    Holding,
    MentionsHolding,
    Row,
    RowsHolding,
    Subject,
)

ERASED_EMAIL: Final = "erased@account.invalid"
"""Of the account that stands for all erased people in the admin's log. Nobody gets mail there (RFC 6761, 6.4)."""

_UNTIL_ERASED: Final = "Until the account is erased."
_LOGIN_COUNTER_MINUTES: Final = (
    max(limits.LOGIN_PER_ACCOUNT_AND_ADDRESS[1], limits.ADMIN_LOGIN_PER_ACCOUNT_AND_ADDRESS[1]) // 60 + 1
)

# The rows that stay have the digest of a token and nothing of the person: whose it was, which device, since when. They
# get ids of their own: a request that began before can neither find nor refer to them.
_ERASE_SESSIONS: Final = """
    WITH gone AS (
        DELETE FROM accounts_devicesession WHERE user_id = %s RETURNING refresh_digest, expires_at
    ), told AS (
        INSERT INTO accounts_devicesession (
            id, device_id, refresh_digest, created_at, expires_at, revoked_at, desktop_version, sidecar_version
        )
        SELECT gen_random_uuid(), '', refresh_digest, now(), date_trunc('day', expires_at) + interval '1 day', now(),
            '', ''
        FROM gone WHERE expires_at > now()
    )
    SELECT count(*) FROM gone
"""


class Account(RowsHolding):
    name = "account"
    title = "Account"
    tables = ("accounts_user", "accounts_user_groups", "accounts_user_user_permissions")
    purpose = "To let the person log in, and to know whose courses and progress are whose."
    origin = "The person, when registering; whoever of the staff made the account or changed it."
    recipients = "Staff of the operator; instructors of the person's courses where they may see emails."
    kept_for = _UNTIL_ERASED
    withheld = "The password's hash: it is a secret, and no password can be read from it."
    is_portable = True
    columns = {
        name: name
        for name in (
            "id",
            "email",
            "display_name",
            "is_active",
            "is_staff",
            "is_superuser",
            "created_at",
            "last_login",
        )
    }

    def rows(self, user_id: uuid.UUID) -> QuerySet[User]:
        return User.objects.filter(pk=user_id)

    def read(self, subject: Subject) -> Iterator[Row]:
        for row in super().read(subject):
            user = User.objects.get(pk=row["id"])
            yield {
                **row,
                "has_password": user.has_usable_password(),
                "groups": [group.name for group in user.groups.order_by("name")],
                "permissions": sorted(user.user_permissions.values_list("codename", flat=True)),
            }

    def erase(self, subject: Subject, *, limit: int | None = None) -> int:
        """Delete the account alone: a row that still refers to it fails, rather than going along unseen."""
        with connection.cursor() as cursor:
            for table in ("accounts_user_groups", "accounts_user_user_permissions"):
                cursor.execute(f"DELETE FROM {table} WHERE user_id = %s", [subject.user_id])  # noqa: S608  constants
            cursor.execute("DELETE FROM accounts_user WHERE id = %s", [subject.user_id])
            return int(cursor.rowcount)


class Devices(RowsHolding):
    name = "devices"
    title = "Devices and logins"
    tables = ("accounts_devicesession",)
    purpose = "To keep a device logged in, to end that, and to offer it versions that it can run."
    origin = "The person's devices, at login and when they ask for updates."
    kept_for = _UNTIL_ERASED
    withheld = "The digest of the refresh token: a secret of the device."
    is_portable = True
    upon_erasure = (
        "Deleted. Until a login would have expired, the digest of its token stays, with nothing beside it, so that the"
        " device is told that the account is gone."
    )
    columns = {
        name: name
        for name in (
            "id",
            "device_id",
            "device_confirmed_at",
            "created_at",
            "expires_at",
            "last_refreshed_at",
            "superseded_at",
            "revoked_at",
            "desktop_version",
            "sidecar_version",
        )
    }

    def rows(self, user_id: uuid.UUID) -> QuerySet[DeviceSession]:
        return DeviceSession.objects.filter(user_id=user_id).order_by("created_at")

    def erase(self, subject: Subject, *, limit: int | None = None) -> int:
        if subject.user_id is None:
            return 0
        with connection.cursor() as cursor:
            cursor.execute(_ERASE_SESSIONS, [subject.user_id])
            return int(cursor.fetchone()[0])


class PendingCode(Holding):
    name = "pending_code"
    title = "Pending verification code"
    tables = ("accounts_emailverificationcode",)
    purpose = "To make sure that an email address belongs to whoever registers with it."
    origin = "A request for a code."
    recipients = "Nobody; the provider who delivers the mail has the address."
    kept_for = "Until it is used, or another one is asked for."
    withheld = "The digest of the code."

    def count(self, subject: Subject) -> int:
        return self._rows(subject).count()

    def read(self, subject: Subject) -> Iterator[Row]:
        yield from self._rows(subject).values("email", "tries", "created_at", "expires_at").iterator()

    def erase(self, subject: Subject, *, limit: int | None = None) -> int:
        return self._rows(subject).delete()[0]

    def _rows(self, subject: Subject) -> QuerySet[EmailVerificationCode]:
        return EmailVerificationCode.objects.filter(email=subject.email)


class BrowserSessions(Holding):
    name = "browser_sessions"
    title = "Logins to the admin"
    tables = ("django_session",)
    purpose = "To keep a browser logged in to the admin."
    origin = "A login to the admin."
    recipients = "Nobody."
    kept_for = "Two weeks from the last change."
    withheld = "The session's key: a secret of the browser."

    def count(self, subject: Subject) -> int:
        return sum(1 for _ in self._sessions(subject))

    def read(self, subject: Subject) -> Iterator[Row]:
        for session, data in self._sessions(subject):
            if self._is_own(data, subject):
                yield {"expires_at": session.expire_date}

    def erase(self, subject: Subject, *, limit: int | None = None) -> int:
        """Also what others' browsers are yet to show: a message that names the person."""
        erased = 0
        for session, data in self._sessions(subject):
            erased += 1
            if self._is_own(data, subject):
                session.delete()
            else:
                session.session_data = SessionStore().encode(subject.scrub(data))
                session.save(update_fields=["session_data"])
        return erased

    @staticmethod
    def _is_own(data: dict[str, Any], subject: Subject) -> bool:
        return subject.user_id is not None and data.get("_auth_user_id") == str(subject.user_id)

    def _sessions(self, subject: Subject) -> Iterator[tuple[Session, dict[str, Any]]]:
        """Only staff have any, so they are few; what is in them is encoded."""
        for session in Session.objects.iterator():
            data = session.get_decoded()
            if subject.is_named_in(data):
                yield session, data


class AdminActs(RowsHolding):
    name = "admin_acts"
    title = "What the person did in the admin"
    tables = ("django_admin_log",)
    purpose = "To account for what staff did to courses, people and releases."
    origin = "Written by the server with each act."
    kept_for = "For good; the person is taken out when the account is erased."
    withheld = "Whom or what an act was about, where that is not the person: it may name others."
    stays = True
    upon_erasure = f"Kept as acts of {ERASED_EMAIL}, which stands for all erased people."
    columns = {"time": "action_time", "kind": "content_type__model", "act": "action_flag"}

    def rows(self, user_id: uuid.UUID) -> QuerySet[LogEntry]:
        return LogEntry.objects.filter(user_id=user_id).order_by("pk")

    def read(self, subject: Subject) -> Iterator[Row]:
        for row in super().read(subject):
            yield {**row, "act": _act_name(row["act"])}

    def erase(self, subject: Subject, *, limit: int | None = None) -> int:
        rows = self.rows(subject.user_id) if subject.user_id else LogEntry.objects.none()
        return rows.order_by().update(user=_erased_account()) if rows.exists() else 0


class AdminEntries(MentionsHolding):
    name = "admin_entries"
    title = "What the admin's log says of the person"
    tables = ("django_admin_log",)
    purpose = "To account for what staff did to the person's account, devices, enrolments and progress."
    origin = "Written by the server with each act."
    kept_for = "For good; the person is taken out when the account is erased."
    withheld = "Who of the staff it was, and other people who are named."
    upon_erasure = f'Kept with "{ERASED}" in the place of the person\'s email, id and devices.'
    model = LogEntry
    fields = ("object_id", "object_repr", "change_message")

    def candidates(self, subject: Subject) -> QuerySet[LogEntry]:
        """Also entries of what belongs to the person: they may have an earlier email, or a device's id."""
        own = Q(pk__in=[])
        if subject.user_id is not None:
            own = Q(content_type=ContentType.objects.get_for_model(User), object_id=str(subject.user_id))
            for kind, keys in _own_objects(subject.user_id):
                own |= Q(content_type=kind, object_id__in=keys)
        found: QuerySet[LogEntry] = super().candidates(subject) | LogEntry._base_manager.filter(own)
        return found.annotate(is_own=Case(When(own, then=Value(True)), default=Value(False)))

    def scrub(self, row: Any, subject: Subject) -> list[str]:
        message = _without_learner(row.change_message, subject)
        changed = ["change_message"] if message != row.change_message else []
        row.change_message = message
        changed += super().scrub(row, subject)
        if row.is_own and ERASED not in row.object_repr:
            row.object_repr = ERASED
            changed.append("object_repr")
        if row.is_own or "object_id" in changed:
            row.object_id = None  # of a row that goes, and the admin would make a link of it
            changed.append("object_id")
        return changed

    def show(self, row: Any, subject: Subject) -> Row:
        return {
            "time": row.action_time,
            "act": _act_name(row.action_flag),
            "about": subject.hide_others(row.object_repr),
            "note": subject.hide_others(row.get_change_message()),
        }


class LoginCounters(CountersHolding):
    name = "login_counters"
    title = "Counters of verification codes and logins"
    kept_for = "A few minutes."
    withheld = (
        "Counters of attempts to log in: they lie under hashes of the email and a network address that is kept nowhere."
    )
    upon_erasure = (
        "Deleted. Those of attempts to log in lie under hashes of the email and of a network address that is kept"
        f" nowhere, so that they can't be found: they end within {_LOGIN_COUNTER_MINUTES} minutes."
    )

    def counters(self, subject: Subject) -> Sequence[tuple[str, str]]:
        return [("email-code", key) for key in code_counter_keys(email=subject.email)] if subject.email else []

    def erase(self, subject: Subject, *, limit: int | None = None) -> int:
        """Also remove what has expired, whoever's it was: it waits for the next cleaning otherwise."""
        expired = Counter.objects.filter(expires_at__lte=timezone.now()).select_for_update(skip_locked=True)
        Counter.objects.filter(pk__in=expired.values("pk")).delete()
        return super().erase(subject, limit=limit)


def holdings() -> Sequence[Holding]:
    """What this room holds; the account itself comes last, since everything refers to it."""
    return [
        AdminActs(),
        AdminEntries(),
        BrowserSessions(),
        PendingCode(),
        LoginCounters(),
        Devices(),
        Account(),
    ]


def prune_erased_logins() -> int:
    """Delete what stays of the logins of erased accounts once it has expired; return how many they were."""
    return DeviceSession.objects.filter(user=None, device_id="", expires_at__lte=timezone.now()).delete()[0]


def _own_objects(user_id: uuid.UUID) -> Iterator[tuple[ContentType, list[str]]]:
    """Yield the kinds of rows that belong to a person, and the keys of theirs. The admin has none with several keys."""
    for relation in User._meta.related_objects:
        model = relation.related_model
        belongs = relation.on_delete is CASCADE or model is DeviceSession
        if belongs and admin.site.is_registered(model):
            rows = model._base_manager.filter(**{relation.field.name: user_id})
            yield ContentType.objects.get_for_model(model), [str(key) for key in rows.values_list("pk", flat=True)]


def _without_learner(message: str, subject: Subject) -> str:
    """Take the person out of the learners whom an entry names by id (`accounts.people`); how many they were stays."""
    try:
        parts = json.loads(message)
    except ValueError:
        return message
    for part in parts if isinstance(parts, list) else []:
        learners = part.get(LEARNERS) if isinstance(part, dict) else None
        if isinstance(learners, dict) and str(subject.user_id) in learners.get("ids", ()):
            learners["ids"] = [user_id for user_id in learners["ids"] if user_id != str(subject.user_id)]
            message = json.dumps(parts)
    return message


def _act_name(flag: int) -> str:
    return {ADDITION: "added", CHANGE: "changed", DELETION: "deleted"}.get(flag, str(flag))


def _erased_account() -> User:
    """Return the account that stands for erased people where a row needs one. Nobody can log in to it."""
    account, created = User.objects.get_or_create(
        email=ERASED_EMAIL, defaults={"display_name": ERASED.capitalize(), "is_active": False}
    )
    if created:
        account.set_unusable_password()
        account.save(update_fields=["password"])
    return account
