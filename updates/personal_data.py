"""What the updates hold of a person: which versions their devices have, and what they did to releases as staff."""

import uuid
from collections.abc import Sequence
from typing import Final

from django.db import connection
from django.db.models import Q, QuerySet
from django.db.models.functions import Coalesce, Now

from config import limits
from config.personal_data import ERASED, Holding, MentionsHolding, Row, RowsHolding, Subject
from updates.models import ApiToken, BundleRelease, DeviceBundle, ReleaseEvent

# As `updates.services.adoption` does when a device's record ends: it is taken out of the counts of those that have not
# checked since, which have no person in them. A sum over the slots is the number, so any slot will do.
_ERASE_DEVICE_BUNDLES: Final = """
    WITH going AS (
        SELECT bundle.session_id, bundle.bundle_type, bundle.scope_id
        FROM updates_devicebundle AS bundle JOIN accounts_devicesession AS session ON session.id = bundle.session_id
        WHERE session.user_id = %(user_id)s
        ORDER BY bundle.bundle_type, bundle.scope_id, bundle.session_id LIMIT %(limit)s
        FOR UPDATE OF bundle
    ), gone AS (
        DELETE FROM updates_devicebundle AS bundle USING going
        WHERE bundle.session_id = going.session_id AND bundle.bundle_type = going.bundle_type
            AND bundle.scope_id = going.scope_id
        RETURNING bundle.bundle_type, bundle.scope_id, bundle.last_seen_on, bundle.counted_as, bundle.offered_version
    ), counted AS (
        INSERT INTO updates_adoptionday AS total
            (bundle_type, scope_id, day, version, offered_version, slot, devices, latest, checks)
        SELECT bundle_type, scope_id, last_seen_on, counted_as, offered_version, 0, 0, -count(*), 0
        FROM gone
        GROUP BY bundle_type, scope_id, last_seen_on, counted_as, offered_version
        ORDER BY bundle_type, scope_id, last_seen_on, counted_as, offered_version
        ON CONFLICT (bundle_type, scope_id, day, version, offered_version, slot) DO UPDATE SET
            latest = total.latest + excluded.latest
    )
    SELECT count(*) FROM gone
"""


class DeviceVersions(RowsHolding):
    name = "device_versions"
    title = "Versions on the person's devices"
    tables = ("updates_devicebundle",)
    purpose = "To see how far a release has got, and whether devices have trouble with it."
    origin = "The person's devices, when they ask for updates."
    recipients = "Staff of the operator, as counts of devices."
    kept_for = f"{limits.ADOPTION_DAYS} days after the device was seen last."
    upon_erasure = "Deleted. Counts of devices by version and day stay: there is no person in them."
    is_portable = True
    is_large = True
    columns = {
        "device_id": "session__device_id",
        **{
            name: name
            for name in ("bundle_type", "scope_id", "version", "offered_version", "first_seen_on", "last_seen_on")
        },
    }

    def rows(self, user_id: uuid.UUID) -> QuerySet[DeviceBundle]:
        rows = DeviceBundle.objects.filter(session__user_id=user_id)
        return rows.order_by("session_id", "bundle_type", "scope_id")

    def erase(self, subject: Subject, *, limit: int | None = None) -> int:
        if subject.user_id is None:
            return 0
        with connection.cursor() as cursor:
            cursor.execute(_ERASE_DEVICE_BUNDLES, {"user_id": subject.user_id, "limit": limit})
            return int(cursor.fetchone()[0])


class MadeReleases(RowsHolding):
    name = "made_releases"
    title = "Releases that the person made"
    tables = ("updates_bundlerelease",)
    purpose = "To know who made a release."
    origin = "Written by the server when the person made it."
    kept_for = "As long as the release."
    stays = True
    upon_erasure = "Kept, made by nobody."
    columns = {name: name for name in ("id", "bundle_type", "scope_id", "version", "created_at")}

    def rows(self, user_id: uuid.UUID) -> QuerySet[BundleRelease]:
        return BundleRelease.objects.filter(created_by_id=user_id).order_by("created_at", "pk")

    def erase(self, subject: Subject, *, limit: int | None = None) -> int:
        return self.rows(subject.user_id).order_by().update(created_by=None) if subject.user_id else 0


class MadeTokens(RowsHolding):
    name = "api_tokens"
    title = "API tokens that the person made"
    tables = ("updates_apitoken",)
    purpose = "To let a build pipeline publish with the rights of whoever made its token."
    origin = "The person, when making it."
    kept_for = "As long as the audit names it."
    withheld = "The token's digest and first characters: parts of a secret."
    stays = True
    upon_erasure = "Revoked, and kept with its name, made by nobody: the audit refers to it."
    columns = {
        name: name
        for name in (
            "name",
            "abilities",
            "bundle_types",
            "course_id",
            "created_at",
            "expires_at",
            "last_used_at",
            "revoked_at",
        )
    }

    def rows(self, user_id: uuid.UUID) -> QuerySet[ApiToken]:
        return ApiToken.objects.filter(created_by_id=user_id).order_by("created_at", "pk")

    def erase(self, subject: Subject, *, limit: int | None = None) -> int:
        if subject.user_id is None:
            return 0
        rows = self.rows(subject.user_id).order_by()
        return rows.update(created_by=None, revoked_at=Coalesce("revoked_at", Now()))


class ReleaseActs(MentionsHolding):
    name = "release_acts"
    title = "The audit of releases"
    tables = ("updates_releaseevent",)
    purpose = "To account for who published what, and what was refused."
    origin = "Written by the server with each act."
    kept_for = "For good; the person is taken out when the account is erased."
    model = ReleaseEvent
    fields = ("actor_name", "refusal", "changes", "notices")

    def candidates(self, subject: Subject) -> QuerySet[ReleaseEvent]:
        """Also those of the person's acts by a token, which has a name of its own."""
        named: QuerySet[ReleaseEvent] = super().candidates(subject)
        own = Q(user_id=subject.user_id) if subject.user_id else Q(pk__in=[])
        return named | ReleaseEvent._base_manager.filter(own)

    def scrub(self, row: ReleaseEvent, subject: Subject) -> list[str]:
        changed = super().scrub(row, subject)
        if subject.user_id is not None and row.user_id == subject.user_id:
            row.user = None
            changed.append("user")
            # The name of that day: the email may have been another one.
            if row.actor_kind == ReleaseEvent.ActorKind.USER and row.actor_name != ERASED:
                row.actor_name = ERASED
                changed.append("actor_name")
        return changed

    def show(self, row: ReleaseEvent, subject: Subject) -> Row:
        return {
            "time": row.created_at,
            "action": row.action,
            "bundle_type": row.bundle_type,
            "scope_id": row.scope_id,
            "version": row.version,
            "actor": subject.hide_others(row.actor_name),
            "refusal": subject.hide_others(row.refusal),
        }


def holdings() -> Sequence[Holding]:
    """What this room holds."""
    return [DeviceVersions(), MadeReleases(), ReleaseActs(), MadeTokens()]
