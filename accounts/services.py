"""Every write of accounts, codes and sessions.

Writes that concern the sessions of one user take the user's row lock first. It makes "one refreshable session per
device", "a password change ends every session" and "a login with the old password comes too late" hold without a
retry: whoever comes second sees what the first one committed.
"""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Final

from django.conf import settings
from django.contrib.auth.hashers import check_password, make_password
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from accounts import mails, tokens
from accounts.models import DeviceSession, EmailVerificationCode, User, default_display_name, normalize_email
from accounts.selectors import get_session_of_refresh_digest, get_user_by_email
from accounts.slots import mail_slot, password_hash_slot
from config import limits, ratelimit
from config.errors import ApiError, ErrorCode

REGISTER_PURPOSE: Final = "register"

_LOGIN_TRIES: Final = 3
"""How often a login checks the password anew when the hash changed between the check and the session."""


@dataclass(frozen=True, slots=True)
class SentCode:
    """What the caller learns of a code; `dev_code` is None in production."""

    expires_in_seconds: int
    dev_code: str | None


@dataclass(frozen=True, slots=True)
class OpenedSession:
    """A new session with the only copy of its refresh token."""

    user: User
    access_token: str
    refresh_token: str


# --- Verification codes -----------------------------------------------------------------------------------------


def request_email_code(*, email: str, purpose: str, address: str) -> SentCode:
    """Mail a verification code, or the notice that the address has an account already.

    A registered address gets a decoy code that nobody ever sees, so that answers and later refusals are alike.

    Raises:
        ApiError: UNSUPPORTED_AUTH_FLOW, TOO_MANY_REQUESTS, SERVER_MISCONFIGURED, EMAIL_SEND_FAILED,
            SERVICE_UNAVAILABLE; EMAIL_ALREADY_REGISTERED when accounts are not concealed.
    """
    if purpose != REGISTER_PURPOSE:
        raise ApiError(ErrorCode.UNSUPPORTED_AUTH_FLOW)
    email = normalize_email(email)
    ratelimit.count_request(
        "email-code-address", address, (settings.AUTH_CODE_MAX_PER_IP_WINDOW, settings.AUTH_CODE_WINDOW_SECONDS)
    )
    mails.check_mail_configured()
    registered = get_user_by_email(email=email) is not None
    if registered and not settings.AUTH_CONCEAL_ACCOUNTS:
        raise ApiError(ErrorCode.EMAIL_ALREADY_REGISTERED)
    with mail_slot():
        _count_code_request(email)
        code = settings.DEV_FIXED_EMAIL_CODE or tokens.make_verification_code()
        digest = tokens.digest_verification_code(email, code)
        _store_code(email=email, digest=digest)
        try:
            if registered:
                mails.send_already_registered_notice(email=email)
            else:
                mails.send_verification_code(email=email, code=code)
        except BaseException:
            EmailVerificationCode.objects.filter(email=email, digest=digest).delete()
            _refund_code_request(email)
            raise
    return SentCode(settings.EMAIL_CODE_EXPIRE_SECONDS, None if settings.PRODUCTION else code)


def _email_rate() -> ratelimit.Rate:
    return settings.AUTH_CODE_MAX_PER_EMAIL_WINDOW, settings.AUTH_CODE_WINDOW_SECONDS


def _cooldown_key(email: str) -> str:
    return f"email-code-cooldown:{tokens.digest_verification_code(email, '')}"


def code_counter_keys(*, email: str) -> list[str]:
    """Return the keys in the cache under which requests for a code of this email are counted."""
    return [_cooldown_key(email), *ratelimit.counter_keys("email-code-email", email, _email_rate())]


def _count_code_request(email: str) -> None:
    """Take the email's cooldown and allowance; a refusal for the allowance gives the cooldown back."""
    ratelimit.start_cooldown(_cooldown_key(email), settings.AUTH_CODE_COOLDOWN_SECONDS)
    try:
        ratelimit.count_request("email-code-email", email, _email_rate())
    except ApiError:
        ratelimit.end_cooldown(_cooldown_key(email))
        raise


def _refund_code_request(email: str) -> None:
    ratelimit.refund_request("email-code-email", email, _email_rate())
    ratelimit.end_cooldown(_cooldown_key(email))


def _store_code(*, email: str, digest: str) -> None:
    now = timezone.now()
    EmailVerificationCode.objects.bulk_create(
        [
            EmailVerificationCode(
                email=email,
                digest=digest,
                tries=0,
                created_at=now,
                expires_at=now + timedelta(seconds=settings.EMAIL_CODE_EXPIRE_SECONDS),
            )
        ],
        update_conflicts=True,
        unique_fields=["email"],
        update_fields=["digest", "tries", "created_at", "expires_at"],
    )


def _try_code(*, email: str, code: str) -> str | None:
    """Count one try and compare; return the digest of the pending code, None for the fixed development code.

    The count comes first and in one statement, so parallel guesses can't share a try.

    Raises:
        ApiError: VERIFICATION_CODE_NOT_FOUND, VERIFICATION_CODE_EXPIRED, INVALID_VERIFICATION_CODE.
    """
    if settings.DEV_FIXED_EMAIL_CODE and tokens.codes_equal(code, settings.DEV_FIXED_EMAIL_CODE):
        return None
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE accounts_emailverificationcode SET tries = least(tries + 1, 32000)
            WHERE email = %s RETURNING digest, tries, expires_at
            """,
            [email],
        )
        row = cursor.fetchone()
    if row is None:
        raise ApiError(ErrorCode.VERIFICATION_CODE_NOT_FOUND)
    digest, tries, expires_at = row
    if tries > limits.VERIFICATION_CODE_MAX_TRIES:
        raise ApiError(ErrorCode.INVALID_VERIFICATION_CODE)
    if expires_at <= timezone.now():
        raise ApiError(ErrorCode.VERIFICATION_CODE_EXPIRED)
    if not tokens.codes_equal(digest, tokens.digest_verification_code(email, code)):
        raise ApiError(ErrorCode.INVALID_VERIFICATION_CODE)
    return str(digest)


# --- Opening sessions -------------------------------------------------------------------------------------------


def register_user(
    *, email: str, verification_code: str, password: str, display_name: str | None, device_id: str, address: str
) -> OpenedSession:
    """Make an account and its first session, all or nothing. The code is used up by whoever commits first.

    Raises:
        ApiError: TOO_MANY_REQUESTS, SERVICE_UNAVAILABLE, EMAIL_ALREADY_REGISTERED and the codes of `_try_code`.
    """
    ratelimit.count_request("register-address", address, limits.REGISTER_PER_ADDRESS)
    email = normalize_email(email)
    # The place comes before the try: a busy server must not use up a try of the right code.
    with password_hash_slot():
        digest = _try_code(email=email, code=verification_code)
        encoded = make_password(password)
    taken = False
    with transaction.atomic():
        pending = EmailVerificationCode.objects.filter(email=email)
        used, _ = (pending if digest is None else pending.filter(digest=digest)).delete()
        if digest is not None and not used:
            raise ApiError(ErrorCode.VERIFICATION_CODE_NOT_FOUND)
        user = User(email=email, display_name=display_name or default_display_name(email), password=encoded)
        try:
            with transaction.atomic():
                user.save(force_insert=True)
        except IntegrityError:
            taken = True  # Raised after the commit: the right code of a registered address is used up as well.
        else:
            session, refresh_token = _create_session(user=user, device_id=device_id)
    if taken:
        raise ApiError(ErrorCode.EMAIL_ALREADY_REGISTERED)
    return OpenedSession(user, tokens.issue_access_token(session), refresh_token)


def log_in(*, email: str, password: str, device_id: str, address: str) -> OpenedSession:
    """Check the password and open a session, which supersedes the device's earlier one.

    An unknown email costs the same hash as a wrong password.

    Raises:
        ApiError: TOO_MANY_REQUESTS, SERVICE_UNAVAILABLE, INVALID_CREDENTIALS, INVALID_USER (inactive, after the
            right password); USER_NOT_FOUND when accounts are not concealed.
    """
    email = normalize_email(email)
    ratelimit.count_request("login-address", address, limits.LOGIN_PER_ADDRESS)
    ratelimit.count_request("login-account", f"{email}\n{address}", limits.LOGIN_PER_ACCOUNT_AND_ADDRESS)
    for _ in range(_LOGIN_TRIES):
        checked = _check_credentials(email=email, password=password)
        opened = _open_session(checked, device_id=device_id)
        if opened is not None:
            return opened
    raise ApiError(ErrorCode.INVALID_CREDENTIALS)


@dataclass(frozen=True, slots=True)
class _CheckedCredentials:
    """A user whose password was right for the hash `encoded`; `renewed` is to replace a hash of another cost."""

    user: User
    encoded: str
    renewed: str | None


def _check_credentials(*, email: str, password: str) -> _CheckedCredentials:
    with password_hash_slot():
        user = get_user_by_email(email=email)
        if user is None and not settings.AUTH_CONCEAL_ACCOUNTS:
            raise ApiError(ErrorCode.USER_NOT_FOUND)
        encoded = user.password if user else _decoy_hash()
        renewed: list[str] = []
        correct = check_password(password, encoded, setter=lambda raw: renewed.append(make_password(raw)))
    if user is None or not correct:
        raise ApiError(ErrorCode.INVALID_CREDENTIALS)
    return _CheckedCredentials(user, encoded, renewed[0] if renewed else None)


def _open_session(checked: _CheckedCredentials, *, device_id: str) -> OpenedSession | None:
    """Open the session, or return None when the hash that was checked is not the account's any more.

    It may be a new password, or only a new hash by another login at the same moment: the caller checks again.
    """
    with transaction.atomic():
        user = User.objects.select_for_update(no_key=True).filter(pk=checked.user.pk).first()
        if user is None or user.password != checked.encoded:
            return None
        if not user.is_active:
            raise ApiError(ErrorCode.INVALID_USER)
        if checked.renewed:
            User.objects.filter(pk=user.pk).update(password=checked.renewed)
        session, refresh_token = _create_session(user=user, device_id=device_id)
    return OpenedSession(user, tokens.issue_access_token(session), refresh_token)


@lru_cache(maxsize=1)
def _decoy_hash() -> str:
    return make_password("nobody's password")


def _create_session(*, user: User, device_id: str) -> tuple[DeviceSession, str]:
    """Open a provisional session. The caller holds the user's row lock, or has just made the user."""
    _supersede(user_id=user.pk, device_id=device_id)
    refresh_token = tokens.make_refresh_token()
    now = timezone.now()
    session = DeviceSession.objects.create(
        user=user,
        device_id=device_id,
        refresh_digest=tokens.digest_refresh_token(refresh_token),
        created_at=now,
        expires_at=now + timedelta(seconds=settings.REFRESH_TOKEN_EXPIRE_SECONDS),
    )
    return session, refresh_token


def _supersede(*, user_id: uuid.UUID, device_id: str, besides: uuid.UUID | None = None) -> None:
    """End the refreshing of the session that the user has on this device, if it is another than `besides`."""
    live = DeviceSession.objects.filter(user_id=user_id, device_id=device_id, superseded_at=None, revoked_at=None)
    if besides is not None:
        live = live.exclude(pk=besides)
    live.update(superseded_at=timezone.now())


# --- Living sessions --------------------------------------------------------------------------------------------


def confirm_device(*, session: DeviceSession, device_id: str) -> bool:
    """Make `device_id` the provisional session's own, superseding another live session that holds it.

    Returns False when another request confirmed or ended the session first; `session` is then left as it was read.
    """
    now = timezone.now()
    with transaction.atomic():
        User.objects.select_for_update(no_key=True).filter(pk=session.owner_id).values_list("pk").first()
        mine = DeviceSession.objects.filter(
            pk=session.pk, device_confirmed_at=None, superseded_at=None, revoked_at=None
        ).select_for_update(no_key=True)
        if not mine.exists():
            return False
        _supersede(user_id=session.owner_id, device_id=device_id, besides=session.pk)
        mine.update(device_id=device_id, device_confirmed_at=now)
    session.device_id, session.device_confirmed_at = device_id, now
    return True


def refresh_access_token(*, refresh_token: str, device_id: str) -> str:
    """Return a new access token; the refresh token stays valid, since clients keep only one (see the contract).

    Raises:
        ApiError: INVALID_REFRESH_TOKEN, INVALID_USER, DEVICE_MISMATCH, REFRESH_TOKEN_EXPIRED.
    """
    digest = tokens.digest_refresh_token(refresh_token)
    session = _refreshable_session(digest)
    if session.device_confirmed_at is None:
        _refuse_expired(session)  # a session that is no device's yet can't be another one's
        if not confirm_device(session=session, device_id=device_id):
            session = _refreshable_session(digest)
    if session.device_id != device_id:
        raise ApiError(ErrorCode.DEVICE_MISMATCH)
    _refuse_expired(session)
    DeviceSession.objects.filter(pk=session.pk).update(last_refreshed_at=timezone.now())
    return tokens.issue_access_token(session)


def _refuse_expired(session: DeviceSession) -> None:
    if session.expires_at <= timezone.now():
        raise ApiError(ErrorCode.REFRESH_TOKEN_EXPIRED)


def _refreshable_session(digest: str) -> DeviceSession:
    session = get_session_of_refresh_digest(digest=digest)
    if session is None:
        raise ApiError(ErrorCode.INVALID_REFRESH_TOKEN)
    if session.user is None or not session.user.is_active:
        raise ApiError(ErrorCode.INVALID_USER)
    if session.revoked_at is not None or session.superseded_at is not None:
        raise ApiError(ErrorCode.INVALID_REFRESH_TOKEN)
    return session


def log_out(*, refresh_token: object = None) -> None:
    """Revoke the session of this token, which ends its access tokens at once. What is no token is no error."""
    digest = tokens.digest_refresh_token(str(refresh_token))
    DeviceSession.objects.filter(refresh_digest=digest, revoked_at=None).update(revoked_at=timezone.now())


def revoke_session(*, session: DeviceSession) -> bool:
    """End one session at once; False when it had ended already."""
    return bool(DeviceSession.objects.filter(pk=session.pk, revoked_at=None).update(revoked_at=timezone.now()))


def note_client_versions(*, session: DeviceSession, desktop_version: str | None, sidecar_version: str | None) -> None:
    """Keep the real versions that a device reported; None is unknown and keeps the last. Writes on change only."""
    changed = {
        name: value
        for name, value in (("desktop_version", desktop_version), ("sidecar_version", sidecar_version))
        if value is not None and getattr(session, name) != value
    }
    if changed:
        DeviceSession.objects.filter(pk=session.pk).update(**changed)
        for name, value in changed.items():
            setattr(session, name, value)


# --- Accounts ---------------------------------------------------------------------------------------------------


def set_user_active(*, user: User, is_active: bool) -> bool:
    """Let an account in again, or shut it out and end its sessions; False when it was so already."""
    with transaction.atomic():
        row = User.objects.select_for_update(no_key=True).exclude(is_active=is_active).filter(pk=user.pk).first()
        if row is None:
            return False
        row.is_active = is_active
        row.save(update_fields=["is_active"])
    return True


def hold_accounts(*, user_ids: Iterable[uuid.UUID]) -> None:
    """Lock accounts that are to be deleted, until the transaction ends. Call it before what refers to them is read.

    What a request under way has stored by then is committed, and can be seen. What comes later waits at the foreign
    key, and is refused when the account is gone: the deletion leaves nothing behind, and never fails of it.
    """
    list(User.objects.select_for_update().filter(pk__in=user_ids).order_by("pk").values_list("pk"))
