"""Bearer tokens: simplejwt checks the signature, one query checks that session and user still stand."""

import uuid
from typing import Any, cast

from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.request import Request
from rest_framework_simplejwt.exceptions import TokenError

from accounts import services
from accounts.models import DeviceSession, User
from accounts.selectors import get_session_of_token, user_exists
from accounts.tokens import SessionAccessToken
from config import limits
from config.errors import ApiError, ErrorCode
from config.jsonvalues import text_fault


class SessionTokenAuthentication(BaseAuthentication):
    """Authenticates `Authorization: Bearer`; `request.auth` becomes the device session.

    Raises:
        ApiError: INVALID_TOKEN, INVALID_USER. A missing token is for the permission to refuse.
    """

    def authenticate(self, request: Request) -> tuple[User, DeviceSession] | None:
        parts = get_authorization_header(request).split()
        if not parts or parts[0].lower() != b"bearer":
            return None
        if len(parts) != 2:
            raise ApiError(ErrorCode.INVALID_TOKEN)
        user, session = self._standing(parts[1])
        if session.device_confirmed_at is None and session.superseded_at is None:
            device_id = device_id_header(request)
            if device_id and not services.confirm_device(session=session, device_id=device_id):
                # Another request was faster, and decided which device this is: rollouts go by it.
                user, session = self._standing(parts[1])
        return user, session

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"

    def _standing(self, raw: bytes) -> tuple[User, DeviceSession]:
        """Return user and session of a token if both still stand. One query."""
        session = self._session(raw)
        if session.user is None or not session.user.is_active:
            raise ApiError(ErrorCode.INVALID_USER)
        if session.revoked_at is not None:
            raise ApiError(ErrorCode.INVALID_TOKEN)
        return session.user, session

    def _session(self, raw: bytes) -> DeviceSession:
        try:
            token = SessionAccessToken(cast(Any, raw))
            user_id, session_id = uuid.UUID(str(token["sub"])), uuid.UUID(str(token["sid"]))
        except (TokenError, KeyError, ValueError) as error:
            raise ApiError(ErrorCode.INVALID_TOKEN) from error
        session = get_session_of_token(session_id=session_id, user_id=user_id)
        if session is None:
            raise ApiError(ErrorCode.INVALID_TOKEN if user_exists(user_id=user_id) else ErrorCode.INVALID_USER)
        return session


def device_id_header(request: Request) -> str:
    """Return `X-Device-Id`, or nothing when it is absent or can't be a device id.

    WSGI hands headers on as Latin-1 (PEP 3333); clients send UTF-8, and the same id in UTF-8 in a refresh's body.
    """
    try:
        device_id = str(request.headers.get("X-Device-Id", "")).strip().encode("latin-1").decode("utf-8")
    except UnicodeError:
        return ""
    return "" if len(device_id) > limits.DEVICE_ID_MAX_LENGTH or text_fault(device_id) else device_id
