"""The fixed cast of the tests, and small helpers that act through HTTP."""

import uuid
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.utils import timezone
from rest_framework.test import APIClient

from accounts import tokens
from accounts.models import DeviceSession, User

PASSWORD = "correct horse battery"


@dataclass
class Actor:
    """Somebody with an account, one confirmed device session and an HTTP client that carries its token."""

    user: User
    session: DeviceSession
    refresh_token: str
    client: APIClient = field(default_factory=APIClient)

    @property
    def access_token(self) -> str:
        return tokens.issue_access_token(self.session)

    def get(self, path: str, **headers: str) -> Any:
        return self.client.get(path, headers=headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        return self.client.post(path, body, format="json", headers=headers)


def make_actor(name: str, *, device_id: str = "", confirmed: bool = True, **fields: Any) -> Actor:
    """Make `name`@example.com with PASSWORD, logged in on a device of its own."""
    user = User.objects.create_user(f"{name}@example.com", PASSWORD, **fields)
    return open_session(user, device_id=device_id or f"{name}-device", confirmed=confirmed)


def open_session(user: User, *, device_id: str, confirmed: bool = True) -> Actor:
    """Log an existing user in on another device."""
    refresh_token = tokens.make_refresh_token()
    now = timezone.now()
    session = DeviceSession.objects.create(
        id=uuid.uuid4(),
        user=user,
        device_id=device_id,
        device_confirmed_at=now if confirmed else None,
        refresh_digest=tokens.digest_refresh_token(refresh_token),
        expires_at=now + timedelta(days=30),
    )
    actor = Actor(user, session, refresh_token)
    actor.client.credentials(HTTP_AUTHORIZATION=f"Bearer {actor.access_token}")
    return actor


def error_code(response: Any) -> str:
    """Return the code of an error answer, checking its one shape on the way."""
    assert response["Content-Type"].startswith("application/json"), response["Content-Type"]
    body = response.json()
    assert set(body) == {"error"}, body
    assert set(body["error"]) <= {"code", "message", "details", "request_id"}
    assert body["error"]["message"]
    assert body["error"]["request_id"] == response["X-Request-Id"]
    return str(body["error"]["code"])
