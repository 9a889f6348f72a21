"""Who a learner is: the account, the pending verification code, and the sessions of its devices."""

import contextlib
import uuid
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, ClassVar

import idna
from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.db import models, transaction
from django.db.models.functions import Coalesce, Lower
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


def normalize_email(email: str) -> str:
    """Return the one spelling under which an address is compared and stored: trimmed, lower-cased, in ASCII.

    An international domain becomes its A-labels (UTS 46, RFC 5891), as the mail system makes of it: otherwise each
    of its spellings would be an account and an allowance of its own for one mailbox. What is no domain stays.
    """
    local, at, domain = email.strip().lower().rpartition("@")
    with contextlib.suppress(idna.IDNAError):
        domain = domain if domain.isascii() else idna.encode(domain, uts46=True).decode("ascii")
    return f"{local}{at}{domain}"


def default_display_name(email: str) -> str:
    """The part before the @, for people who give no name."""
    return email.partition("@")[0][:120]


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """Make an account; without a password nobody can log in to it."""
        email = normalize_email(email)
        fields.setdefault("display_name", default_display_name(email))
        user = self.model(email=email, **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        return self.create_user(email, password, **{**fields, "is_staff": True, "is_superuser": True})

    def get_by_natural_key(self, username: str | None) -> "User":
        return self.get(email=normalize_email(username or ""))


class User(AbstractBaseUser, PermissionsMixin):
    """An account. `id` is the `sub` of its access tokens for life: clients file their data under it."""

    id = models.UUIDField(_("ID"), primary_key=True, default=uuid.uuid4, editable=False)
    email = models.EmailField(_("email"), max_length=254, unique=True)
    display_name = models.CharField(_("display name"), max_length=120)
    is_active = models.BooleanField(
        _("active"), default=True, help_text=_("An inactive account can't log in, and its sessions end.")
    )
    is_staff = models.BooleanField(_("staff"), default=False, help_text=_("May open the admin."))
    created_at = models.DateTimeField(_("made at (UTC)"), default=timezone.now, editable=False)

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    _password_taken_away = False

    class Meta:
        verbose_name = _("user")
        verbose_name_plural = _("users")
        constraints = [
            models.CheckConstraint(condition=models.Q(email=Lower("email")), name="accounts_user_email_is_lower_case"),
        ]
        # For the admin's list, in the order of the emails: the few among a million.
        indexes = [
            models.Index(fields=["email"], condition=models.Q(is_staff=True), name="accounts_staff_by_email"),
            models.Index(fields=["email"], condition=models.Q(is_active=False), name="accounts_inactive_by_email"),
        ]

    def __str__(self) -> str:
        return self.email

    def get_full_name(self) -> str:
        """Return the name that the admin shows beside the email."""
        return self.display_name

    def clean(self) -> None:
        self.email = normalize_email(self.email)

    def set_unusable_password(self) -> None:
        super().set_unusable_password()
        self._password_taken_away = True

    def save(
        self,
        force_insert: Any = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Iterable[str] | None = None,
    ) -> None:
        """Save; a changed password and a deactivation end every session in the same transaction.

        It stands here rather than in a service since the admin, `changepassword` and our own commands all set
        passwords by way of `save`.
        """
        # Django keeps the raw password in `_password` until the save, but not for the mere renewal of a hash.
        password_changed = getattr(self, "_password", None) is not None or self._password_taken_away
        ends_sessions = not self._state.adding and (password_changed or not self.is_active)
        with transaction.atomic(using=using):
            super().save(force_insert=force_insert, force_update=force_update, using=using, update_fields=update_fields)
            if ends_sessions:
                DeviceSession.objects.using(using).filter(user=self, revoked_at=None).update(revoked_at=timezone.now())
        self._password_taken_away = False


class EmailVerificationCode(models.Model):
    """The one pending code of an email address. A new code takes the place of the earlier; a used one is deleted."""

    email = models.EmailField(max_length=254, primary_key=True)
    digest = models.CharField(max_length=64, help_text="HMAC-SHA-256 of email and code under the server's key, hex.")
    tries = models.PositiveSmallIntegerField(default=0)
    expires_at = models.DateTimeField()
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.email


LAST_SEEN = Coalesce("last_refreshed_at", "created_at")
"""When a session logged in or refreshed last."""


class DeviceSession(models.Model):
    """One login on one device.

    It can refresh while it is neither superseded nor revoked; its access tokens work while it is not revoked.
    Until `device_confirmed_at` is set, the first device id that comes along becomes the session's.
    """

    id = models.UUIDField(_("ID"), primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(
        User,
        on_delete=models.SET_NULL,
        null=True,
        related_name="device_sessions",
        verbose_name=_("user"),
        help_text=_("Empty: the account was deleted. The session stays, so that its device is told so."),
    )
    device_id = models.CharField(_("device ID"), max_length=255)
    device_confirmed_at = models.DateTimeField(_("device confirmed at (UTC)"), null=True, blank=True)
    refresh_digest = models.CharField(max_length=64, unique=True, help_text="SHA-256 of the refresh token, hex.")
    created_at = models.DateTimeField(_("logged in at (UTC)"), default=timezone.now)
    expires_at = models.DateTimeField(_("expires at (UTC)"))
    last_refreshed_at = models.DateTimeField(_("last refreshed at (UTC)"), null=True, blank=True)
    superseded_at = models.DateTimeField(_("superseded at (UTC)"), null=True, blank=True)
    revoked_at = models.DateTimeField(_("revoked at (UTC)"), null=True, blank=True)
    desktop_version = models.CharField(
        _("desktop version"), max_length=64, blank=True, help_text=_("The last real one that was reported.")
    )
    sidecar_version = models.CharField(
        _("sidecar version"), max_length=64, blank=True, help_text=_("The last real one that was reported.")
    )

    class Meta:
        verbose_name = _("login on a device")
        verbose_name_plural = _("logins on devices")
        constraints = [
            models.UniqueConstraint(
                fields=["user", "device_id"],
                condition=models.Q(superseded_at=None, revoked_at=None),
                name="accounts_one_refreshable_session_per_device",
            ),
        ]
        indexes = [
            # For the admin's list, the newest first: of all, of those that ended, and by a device id's beginning.
            models.Index(fields=["-created_at"], name="accounts_session_by_login"),
            models.Index(
                fields=["-created_at"], condition=models.Q(revoked_at__isnull=False), name="accounts_session_revoked"
            ),
            models.Index(
                fields=["-created_at"],
                condition=models.Q(superseded_at__isnull=False),
                name="accounts_session_superseded",
            ),
            models.Index(fields=["device_id"], opclasses=["varchar_pattern_ops"], name="accounts_session_by_device"),
            # Counting the active devices reads this alone. The planner sees that only when the columns of the
            # expression are in the index as well.
            models.Index(
                LAST_SEEN,
                name="accounts_session_by_last_seen",
                include=["created_at", "last_refreshed_at", "desktop_version", "sidecar_version"],
                condition=models.Q(superseded_at=None, revoked_at=None),
            ),
        ]

    @property
    def owner_id(self) -> uuid.UUID:
        """The account's id, for a session that stands. Raises ValueError for one whose account was deleted."""
        if self.user_id is None:
            raise ValueError("The account of this session was deleted.")
        return self.user_id

    @property
    def is_expired(self) -> bool:
        """Whether it can't refresh any more, by its age."""
        return self.expires_at <= timezone.now()

    @property
    def is_over(self) -> bool:
        """Whether there is nothing to be ended: its account is gone, or so is its last access token."""
        last_refresh = min(self.superseded_at or self.expires_at, self.expires_at)
        last_token = last_refresh + timedelta(seconds=settings.ACCESS_TOKEN_EXPIRE_SECONDS)
        return self.user_id is None or self.revoked_at is not None or last_token <= timezone.now()

    def __str__(self) -> str:
        return f"{self.device_id} / {self.created_at:%Y-%m-%d}"
