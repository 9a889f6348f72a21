"""Who calls from a pipeline: an API token or ADMIN_API_KEY, by `Authorization: Bearer` or `X-Admin-Key`."""

import hmac
from typing import Any, cast

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from accounts.authentication import SessionTokenAuthentication
from accounts.models import User
from config.errors import ApiError, ErrorCode
from updates.models import Ability
from updates.principals import ADMIN_KEY, Principal, pipeline
from updates.services.tokens import TOKEN_PREFIX, authenticate_token


class PipelineAuthentication(BaseAuthentication):
    """Makes `request.auth` the `Principal`, and `request.user` the person behind it, or nobody.

    Two headers with different credentials are refused: which of them acts would be a guess.

    Raises:
        ApiError: UNAUTHORIZED without a credential; INVALID_TOKEN; FORBIDDEN for a session's access token. People
            publish in the admin; the token that a desktop app holds must not be able to.
    """

    def authenticate(self, request: Request) -> tuple[User | AnonymousUser, Principal]:
        sent = {credential for credential in (_bearer(request), _admin_key(request)) if credential}
        if not sent:
            raise ApiError(
                ErrorCode.UNAUTHORIZED, "Send an API token, as `Authorization: Bearer` or in the header `X-Admin-Key`."
            )
        if len(sent) > 1:
            raise ApiError(ErrorCode.INVALID_TOKEN, "`Authorization` and `X-Admin-Key` differ: send one of them.")
        principal = _identify(request, sent.pop())
        return principal.user or AnonymousUser(), principal

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class IsPipeline(BasePermission):
    """Whoever `PipelineAuthentication` knows; the services decide what it may do."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return isinstance(request.auth, Principal)


class MayUpload(IsPipeline):
    """Whoever may upload at all: asked before a byte of the archive is read.

    Raises:
        ApiError: FORBIDDEN.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        caller(request).require(Ability.UPLOAD)
        return True


def caller(request: Request) -> Principal:
    """Return who calls."""
    return cast(Principal, request.auth)


def _bearer(request: Request) -> str:
    scheme, _, credential = str(request.META.get("HTTP_AUTHORIZATION", "")).strip().partition(" ")
    return credential.strip() if scheme.lower() == "bearer" else ""


def _admin_key(request: Request) -> str:
    return str(request.META.get("HTTP_X_ADMIN_KEY", "")).strip()


def _identify(request: Request, credential: str) -> Principal:
    if _is_admin_key(credential):
        return ADMIN_KEY
    if credential.startswith(TOKEN_PREFIX):
        return pipeline(authenticate_token(secret=credential))
    if credential.isascii() and credential == _bearer(request) and _is_access_token(request):
        raise ApiError(
            ErrorCode.FORBIDDEN, "This call needs an API token: people make one in the admin, or publish there."
        )
    raise ApiError(ErrorCode.INVALID_TOKEN, "There is no such API token.")


def _is_admin_key(credential: str) -> bool:
    """Compare in constant time. A key that isn't set equals nothing."""
    key = settings.ADMIN_API_KEY
    return bool(key) and hmac.compare_digest(credential.encode("utf-8", "surrogatepass"), key.encode())


def _is_access_token(request: Request) -> bool:
    """Say whether the bearer token is that of a session that stands."""
    try:
        return SessionTokenAuthentication().authenticate(request) is not None
    except ApiError as error:
        if error.code in (ErrorCode.INVALID_TOKEN, ErrorCode.INVALID_USER):
            return False
        raise
