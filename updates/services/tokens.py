"""API tokens of build pipelines."""

import hashlib
import secrets
import unicodedata
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _
from django_stubs_ext import StrOrPromise

from accounts.models import User
from config import limits
from config.errors import ApiError, ErrorCode, FieldError, field_errors
from courses.models import Course
from updates.models import Ability, ApiToken, BundleType
from updates.principals import ADMIN_KEY, person

TOKEN_PREFIX: Final = "lcb_"  # noqa: S105
"""Scanners for leaked secrets know a token by it."""
_RANDOM_BYTES: Final = 32
_HINT_CHARACTERS: Final = len(TOKEN_PREFIX) + 6
_USE_NOTED_EVERY: Final = timedelta(minutes=1)


def create_token(
    *,
    name: str,
    abilities: Sequence[str],
    expires_at: datetime,
    created_by: User,
    bundle_types: Sequence[str] = (),
    course: Course | None = None,
) -> tuple[ApiToken, str]:
    """Make a token; return it with the secret that is shown this once: 256 random bits, of which only SHA-256 is kept.

    Raises:
        ApiError: FORBIDDEN when it should do more than its maker may; VALIDATION_ERROR for no ability, a name that is
            taken or could be read as somebody else's, bounds that leave it nothing, or a lifetime that is over or too
            long.
    """
    maker = person(created_by)
    for ability in abilities:
        maker.require(ability)
    _check_lifetime(expires_at)
    secret = TOKEN_PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    token = ApiToken(
        name=name,
        digest=digest_of(secret),
        hint=secret[:_HINT_CHARACTERS],
        abilities=[ability for ability in Ability.values if ability in abilities],
        bundle_types=list(bundle_types),
        course=course,
        created_by=created_by,
        expires_at=expires_at,
    )
    _check_fields(token)
    try:
        with transaction.atomic():
            token.save(force_insert=True)
    except IntegrityError as error:
        raise _invalid("name", _("There is a token of this name already.")) from error
    return token, secret


def authenticate_token(*, secret: str) -> ApiToken:
    """Return the token that a pipeline sent, with its maker and course, and note its use. One query, rarely a write.

    The token is looked up by its digest, so there is nothing to compare in constant time.

    Raises:
        ApiError: INVALID_TOKEN, and why: whoever has the secret may know it.
    """
    token = ApiToken.objects.select_related("created_by", "course").filter(digest=digest_of(secret)).first()
    if token is None:
        raise ApiError(ErrorCode.INVALID_TOKEN, "There is no such API token.")
    if token.revoked_at is not None:
        raise ApiError(ErrorCode.INVALID_TOKEN, f"The API token {token} was revoked.")
    if token.expires_at <= timezone.now():
        raise ApiError(ErrorCode.INVALID_TOKEN, f"The API token {token} has expired.")
    maker = token.created_by
    if maker is None or not (maker.is_active and maker.is_staff):
        raise ApiError(ErrorCode.INVALID_TOKEN, f"Whoever made the API token {token} is no longer staff.")
    note_use(token=token)
    return token


def revoke_token(*, token: ApiToken) -> bool:
    """End a token at once; say whether it stood until now."""
    return bool(ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now()))


def note_use(*, token: ApiToken) -> None:
    """Remember that a token was used, to the minute: a pipeline's many calls are not a write each."""
    now = timezone.now()
    if token.last_used_at is None or token.last_used_at < now - _USE_NOTED_EVERY:
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)


def digest_of(secret: str) -> str:
    """SHA-256, hex. A secret of 112 random bits or more needs no slow or salted hash (NIST SP 800-63B, 5.1.2.2)."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _check_lifetime(expires_at: datetime) -> None:
    now = timezone.now()
    if not now < expires_at <= now + timedelta(days=limits.API_TOKEN_MAX_DAYS):
        text = _("A token lives from now on, for at most {days} days.")
        raise _invalid("expires_at", format_lazy(text, days=limits.API_TOKEN_MAX_DAYS))


def _check_name(name: str) -> None:
    """Refuse a name that logs and the audit could show as something else: another line, the key, or a person."""
    seen = unicodedata.normalize("NFKC", name)
    if not name.isprintable() or name != name.strip():
        raise _invalid("name", _("Only printable characters, on one line, without blanks at either end."))
    if "@" in seen or seen.casefold() == ADMIN_KEY.name.casefold():
        text = _("A token is neither a person, with an @, nor {key}.")
        raise _invalid("name", format_lazy(text, key=ADMIN_KEY.name))


def _check_fields(token: ApiToken) -> None:
    _check_name(token.name)
    if not token.abilities:
        raise _invalid("abilities", _("Choose what the token may do."))
    if token.course is not None and token.bundle_types and BundleType.CHAPTER not in token.bundle_types:
        raise _invalid("bundle_types", _("A token for a course is for its chapters."))
    try:
        token.full_clean()
    except ValidationError as error:
        first = field_errors(error)[0]
        raise _invalid(first["field"], first["message"]) from error


def _invalid(field: str, message: StrOrPromise) -> ApiError:
    details: list[FieldError] = [{"field": field, "message": message}]
    return ApiError(ErrorCode.VALIDATION_ERROR, message, details)
