"""Reads of accounts and sessions."""

import uuid
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Count, Q
from django.utils import timezone

from accounts.models import DeviceSession, User


def get_session_of_token(*, session_id: uuid.UUID, user_id: uuid.UUID) -> DeviceSession | None:
    """Return the session with its user joined, by primary key. One query, on every protected call."""
    return DeviceSession.objects.select_related("user").filter(pk=session_id, user_id=user_id).first()


def get_session_of_refresh_digest(*, digest: str) -> DeviceSession | None:
    """Return the session of a refresh token with its user joined. One query."""
    return DeviceSession.objects.select_related("user").filter(refresh_digest=digest).first()


def get_user_by_email(*, email: str) -> User | None:
    return User.objects.filter(email=email).first()


def user_exists(*, user_id: uuid.UUID) -> bool:
    return User.objects.filter(pk=user_id).exists()


@dataclass(frozen=True, slots=True)
class ActiveDevices:
    """How many devices were active, and how many of them have ever said what they run."""

    total: int
    with_desktop_version: int
    with_sidecar_version: int


def count_active_devices(*, days: int) -> ActiveDevices:
    """Count sessions that stand and that logged in or refreshed in the last `days`. One query over all sessions."""
    since = timezone.now() - timedelta(days=days)
    active = DeviceSession.objects.filter(
        Q(created_at__gte=since) | Q(last_refreshed_at__gte=since), superseded_at=None, revoked_at=None
    )
    return ActiveDevices(
        **active.aggregate(
            total=Count("pk"),
            with_desktop_version=Count("pk", filter=~Q(desktop_version="")),
            with_sidecar_version=Count("pk", filter=~Q(sidecar_version="")),
        )
    )
