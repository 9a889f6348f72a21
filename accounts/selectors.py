"""Reads of accounts and sessions."""

import uuid

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
