"""The three secrets that we hand out: access tokens, refresh tokens, verification codes."""

import hashlib
import hmac
import secrets
from datetime import timedelta
from typing import Final

from django.conf import settings
from django.utils.crypto import salted_hmac
from rest_framework_simplejwt.tokens import AccessToken

from accounts.models import DeviceSession
from config import limits

_REFRESH_TOKEN_BYTES: Final = 32
_CODE_SALT: Final = "accounts.verification-code"


class SessionAccessToken(AccessToken):
    """An access token of a device session; `sid` names it, so it needs no id of its own."""

    def set_jti(self) -> None:
        """Add none: the library would write one under the name `null`."""


def issue_access_token(session: DeviceSession) -> str:
    """Sign an access token (RFC 7519, HS256) with `sub`, `sid`, `type`, `iat` and `exp`."""
    token = SessionAccessToken()
    token["sub"] = str(session.user_id)
    token["sid"] = str(session.pk)
    token.set_exp(lifetime=timedelta(seconds=settings.ACCESS_TOKEN_EXPIRE_SECONDS))
    return str(token)


def make_refresh_token() -> str:
    """Return 256 random bits as text; only `digest_refresh_token` of it is stored."""
    return secrets.token_urlsafe(_REFRESH_TOKEN_BYTES)


def digest_refresh_token(token: str) -> str:
    """SHA-256, hex. A fast hash suffices: nobody guesses 256 random bits."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def make_verification_code() -> str:
    return f"{secrets.randbelow(10**limits.VERIFICATION_CODE_DIGITS):0{limits.VERIFICATION_CODE_DIGITS}d}"


def digest_verification_code(email: str, code: str) -> str:
    """HMAC-SHA-256 under the server's key, hex: a stolen table of six-digit codes is no use without the key."""
    return salted_hmac(_CODE_SALT, f"{email}\n{code}", algorithm="sha256").hexdigest()


def codes_equal(left: str, right: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(left.encode("utf-8", "surrogatepass"), right.encode("utf-8", "surrogatepass"))
