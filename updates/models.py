"""Releases of bundles: what was published when, for whom, with which bytes, by whom, and who may do it."""

import re
import uuid
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, RegexValidator
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from accounts.models import DeviceSession
from config import limits
from courses.models import Chapter, Course
from updates.selection import parse_version

EXPERT_ID_PATTERN: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,159}")

# No part starts with a dot: clients and the artifact store make folders of them.
version_validator = RegexValidator(
    r"\A[A-Za-z0-9_-][A-Za-z0-9._-]*\Z",
    _("Use letters, digits, dot, underscore and hyphen only, and no dot at the start."),
)
scope_validator = RegexValidator(
    r"\A[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)?\Z",
    _("One or two parts of letters, digits, dot, underscore and hyphen, and no dot at the start."),
)
sha256_validator = RegexValidator(r"\A[0-9a-f]{64}\Z", _("64 lower-case hexadecimal digits."))


def validate_semantic_version(value: str) -> None:
    if parse_version(value) is None:
        raise ValidationError(_("This must be a semantic version such as 1.2.3."))


def validate_expert_ids(value: Any) -> None:
    if not isinstance(value, list) or not all(isinstance(e, str) and EXPERT_ID_PATTERN.fullmatch(e) for e in value):
        raise ValidationError(_('This must be a list of expert ids such as ["data_inspector"].'))
    if len(value) > limits.REQUIRED_EXPERTS_MAX or len(set(value)) < len(value):
        text = _("At most %(most)s experts can be required, each once.")
        raise ValidationError(text, params={"most": limits.REQUIRED_EXPERTS_MAX})


class BundleType(models.TextChoices):
    APP_AGENTS = "app_agents", _("App agents")
    EXPERTS_SHARED = "experts_shared", _("Shared experts")
    EXPERTS = "experts", _("Expert")
    CHAPTER = "chapter", _("Chapter")


FIXED_SCOPES: Final[dict[str, str]] = {BundleType.APP_AGENTS: "core", BundleType.EXPERTS_SHARED: "shared"}
"""The only scope of a family, where clients know no other."""


def chapter_scope_id(course_id: uuid.UUID, chapter_code: str) -> str:
    """The scope under which a chapter's releases are kept, however a client addresses the chapter."""
    return f"{course_id}/{chapter_code}"


class BundleRelease(models.Model):
    """One version of the bundle of a scope.

    `scope_id` is `core` for app agents, `shared` for shared experts, the expert's id, or
    `{course_id}/{chapter_code}` for a chapter. The bytes lie in the artifact store under `artifact_key`, or
    elsewhere at `external_url`. Once published, the bytes never change: a trigger refuses it.

    Releases that are published in one act share a `cohort_key`; they are widened and withdrawn together.
    """

    class State(models.TextChoices):
        DRAFT = "draft", pgettext_lazy("state of a release", "Draft")
        PUBLISHED = "published", pgettext_lazy("state of a release", "Published")
        WITHDRAWN = "withdrawn", pgettext_lazy("state of a release", "Withdrawn")

    id = models.UUIDField(_("ID"), primary_key=True, default=uuid.uuid4, editable=False)
    bundle_type = models.CharField(_("kind of bundle"), max_length=32, choices=BundleType.choices)
    scope_id = models.CharField(_("scope"), max_length=160, validators=[scope_validator])
    version = models.CharField(_("version"), max_length=64, validators=[version_validator, validate_semantic_version])
    chapter = models.ForeignKey(
        Chapter, on_delete=models.PROTECT, null=True, blank=True, related_name="releases", verbose_name=_("chapter")
    )
    state = models.CharField(_("state"), max_length=16, choices=State.choices, default=State.DRAFT)

    artifact_key = models.CharField(_("place in the store"), max_length=512, blank=True)
    external_url = models.URLField(_("URL elsewhere"), max_length=1024, blank=True)
    sha256 = models.CharField("SHA-256", max_length=64, validators=[sha256_validator])
    size_bytes = models.PositiveBigIntegerField(_("size in bytes"))
    manifest = models.JSONField(_("manifest"), default=dict, blank=True)
    required_experts = models.JSONField(
        _("required experts"),
        default=list,
        blank=True,
        validators=[validate_expert_ids],
        help_text="Ids of the experts that a chapter needs.",
    )

    is_mandatory = models.BooleanField(_("mandatory"), default=True)
    min_desktop_version = models.CharField(
        _("minimum desktop version"),
        max_length=64,
        blank=True,
        validators=[validate_semantic_version],
        help_text="A semantic version such as 1.4.0; older apps keep the release before. Empty: any.",
    )
    min_sidecar_version = models.CharField(
        _("minimum sidecar version"),
        max_length=64,
        blank=True,
        validators=[validate_semantic_version],
        help_text="A semantic version such as 1.4.0; older sidecars keep the release before. Empty: any.",
    )
    strict_versions = models.BooleanField(
        _("strict about versions"), default=False, help_text="A device of unknown version doesn't get it."
    )
    rollout_basis_points = models.PositiveIntegerField(
        _("rollout"),
        default=10_000,
        validators=[MaxValueValidator(10_000)],
        help_text="Hundredths of a percent of the devices: 10000 is everybody, 500 is 5 %.",
    )
    cohort_key = models.UUIDField(_("cohort"), null=True, blank=True, help_text="Made anew by each publication.")
    publish_at = models.DateTimeField(
        _("offered from (UTC)"),
        null=True,
        blank=True,
        help_text="Offered from this time on (UTC); empty: as soon as it is published.",
    )
    published_at = models.DateTimeField(
        _("published (UTC)"), null=True, blank=True, help_text="The last publication; orders the releases."
    )
    first_published_at = models.DateTimeField(_("first published (UTC)"), null=True, blank=True)
    withdrawn_at = models.DateTimeField(_("withdrawn (UTC)"), null=True, blank=True)
    verified_at = models.DateTimeField(
        _("stored file checked (UTC)"),
        null=True,
        blank=True,
        help_text="When the bytes were last fetched from where they lie, and found right.",
    )
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, verbose_name=_("made by")
    )
    created_at = models.DateTimeField(_("made (UTC)"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("release")
        verbose_name_plural = _("releases")
        constraints = [
            models.UniqueConstraint(
                "bundle_type",
                Lower("scope_id"),
                Lower("version"),
                name="updates_release_unique_without_case",
                violation_error_message=_(
                    "This version exists already, and its bytes never change: use another version."
                ),
            ),
            models.CheckConstraint(
                condition=models.Q(rollout_basis_points__lte=10_000), name="updates_rollout_at_most_10000"
            ),
            models.CheckConstraint(
                condition=models.Q(state="draft") | models.Q(published_at__isnull=False, cohort_key__isnull=False),
                name="updates_published_has_time_and_cohort",
            ),
            models.CheckConstraint(
                condition=models.Q(artifact_key="") ^ models.Q(external_url=""),
                name="updates_release_has_one_place_of_bytes",
            ),
            models.CheckConstraint(
                condition=models.Q(bundle_type="chapter", chapter__isnull=False)
                | (~models.Q(bundle_type="chapter") & models.Q(chapter=None)),
                name="updates_chapter_release_has_chapter",
                violation_error_message=_("A chapter's release needs its chapter, any other release has none."),
            ),
        ]
        indexes = [
            models.Index(fields=["bundle_type", "scope_id", "-published_at"], name="updates_release_by_scope"),
            models.Index(
                fields=["cohort_key"], condition=models.Q(state="published"), name="updates_release_by_cohort"
            ),
            # The admin's list reads this alone to order, filter and search: rows are wide by their manifests.
            models.Index(
                fields=["bundle_type", "scope_id"],
                include=[
                    "id",
                    "version",
                    "state",
                    "chapter",
                    "sha256",
                    "rollout_basis_points",
                    "publish_at",
                    "published_at",
                    "withdrawn_at",
                    "created_at",
                ],
                name="updates_release_list",
            ),
        ]
        permissions = [("publish_bundlerelease", "Can publish, widen and withdraw releases")]

    def __str__(self) -> str:
        return f"{self.bundle_type}/{self.scope_id} {self.version}"

    @property
    def is_scheduled(self) -> bool:
        """It is published for a time that is yet to come."""
        is_later = self.publish_at is not None and self.publish_at > timezone.now()
        return self.state == self.State.PUBLISHED and is_later

    @property
    def offered_since(self) -> datetime | None:
        """When its last publication reached devices; None: it has not yet, or was withdrawn before its time came."""
        if self.publish_at is None or self.published_at is None:
            return self.published_at
        until = self.withdrawn_at or timezone.now()
        return max(self.published_at, self.publish_at) if self.publish_at <= until else None

    def clean(self) -> None:
        """Refuse a scope that no client would ask for, and bytes at an address that is none for strangers."""
        self._clean_external_url()
        if self.bundle_type == BundleType.CHAPTER:
            if self.chapter is None or self.scope_id != chapter_scope_id(
                self.chapter.course_id, self.chapter.chapter_code
            ):
                text = _("This must be {course id}/{chapter code} of an existing chapter.")
                raise ValidationError({"scope_id": text})
        elif "/" in self.scope_id:
            raise ValidationError({"scope_id": _("Only the scope of a chapter has two parts.")})
        elif self.scope_id != (expected := FIXED_SCOPES.get(self.bundle_type, self.scope_id)):
            error = ValidationError(_("This must be %(expected)s."), params={"expected": expected})
            raise ValidationError({"scope_id": error})

    def _clean_external_url(self) -> None:
        address = urlsplit(self.external_url)
        if self.external_url and (address.scheme != "https" or address.username is not None):
            text = _("This must be an https URL without a name or password in it.")
            raise ValidationError({"external_url": text})


class Ability(models.TextChoices):
    """What somebody may do with releases; the scopes of an API token."""

    READ = "read", _("Read: list releases")
    UPLOAD = "upload", _("Upload: make, change and delete drafts")
    PUBLISH = "publish", _("Publish: publish, widen and withdraw")


class ApiToken(models.Model):
    """What a build pipeline authenticates with. The token itself is shown once; only its digest is kept.

    It may do what `abilities` say, with bundles of `bundle_types` (empty: all) and, when it is bound to a course, with
    that course's chapters only; and never more than the person who made it may do at that moment.
    """

    id = models.UUIDField(_("ID"), primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(
        _("name"), max_length=100, unique=True, help_text="The audit shows it, e.g. the pipeline's name."
    )
    digest = models.CharField(
        _("digest"), max_length=64, unique=True, editable=False, help_text="SHA-256 of the token, hex."
    )
    hint = models.CharField(
        _("begins with"), max_length=16, editable=False, help_text="The token's first characters, to know it by."
    )
    abilities = ArrayField(
        models.CharField(max_length=16, choices=Ability.choices), verbose_name=_("what the token may do")
    )
    bundle_types = ArrayField(
        models.CharField(max_length=32, choices=BundleType.choices),
        verbose_name=_("kinds of bundles"),
        default=list,
        blank=True,
        help_text="Empty: all.",
    )
    # A token that outlived its course would be bound to none, and so to all.
    course = models.ForeignKey(
        Course,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("course"),
        help_text="For this course's chapters only.",
    )
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        editable=False,
        related_name="+",
        verbose_name=_("made by"),
    )
    created_at = models.DateTimeField(_("made (UTC)"), default=timezone.now, editable=False)
    expires_at = models.DateTimeField(_("expires (UTC)"))
    last_used_at = models.DateTimeField(_("last used (UTC)"), null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(_("revoked (UTC)"), null=True, blank=True, editable=False)

    class Meta:
        verbose_name = _("API token")
        verbose_name_plural = _("API tokens")

    def __str__(self) -> str:
        return self.name


class ReleaseEvent(models.Model):
    """One entry of the audit: who did what to a release, or was refused, and when.

    It names the release's identity itself: drafts can be deleted, and a refused upload never was a release.
    """

    class Action(models.TextChoices):
        CREATED = "created", pgettext_lazy("what was done", "Draft made")
        CHANGED = "changed", pgettext_lazy("what was done", "Draft changed")
        DELETED = "deleted", pgettext_lazy("what was done", "Draft deleted")
        PUBLISHED = "published", pgettext_lazy("what was done", "Published")
        RESCHEDULED = "rescheduled", pgettext_lazy("what was done", "Time changed")
        WIDENED = "widened", pgettext_lazy("what was done", "Rollout widened")
        WITHDRAWN = "withdrawn", pgettext_lazy("what was done", "Withdrawn")
        VERIFIED = "verified", pgettext_lazy("what was done", "Stored file checked")

    class ActorKind(models.TextChoices):
        USER = "user", _("Person")
        TOKEN = "token", _("API token")
        ADMIN_KEY = "admin_key", "ADMIN_API_KEY"
        COMMAND = "command", _("Command")

    id = models.BigAutoField(_("ID"), primary_key=True)
    act_id = models.UUIDField(_("act"), help_text="Shared by the entries of one act.")
    # Without a constraint: entries outlive a deleted draft and keep its id, and writing one locks no release.
    release = models.ForeignKey(
        BundleRelease,
        on_delete=models.DO_NOTHING,
        null=True,
        db_constraint=False,
        related_name="events",
        verbose_name=_("release"),
    )
    # These three are empty where an archive was refused that doesn't say what it is.
    bundle_type = models.CharField(_("kind of bundle"), max_length=32, choices=BundleType.choices)
    scope_id = models.CharField(_("scope"), max_length=160)
    version = models.CharField(_("version"), max_length=64)
    action = models.CharField(_("action"), max_length=16, choices=Action.choices)
    refusal = models.TextField(_("reason of the refusal"), blank=True, help_text="Why it was not done; empty: it was.")
    changes = models.JSONField(_("changes"), default=dict, help_text="Each field that changed: [from, to].")
    notices = models.JSONField(_("notices"), default=list, help_text="What whoever did it was told.")
    actor_kind = models.CharField(_("kind of actor"), max_length=16, choices=ActorKind.choices)
    actor_name = models.CharField(_("who"), max_length=254)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+", verbose_name=_("person")
    )
    token = models.ForeignKey(
        ApiToken, on_delete=models.SET_NULL, null=True, related_name="+", verbose_name=_("API token")
    )
    created_at = models.DateTimeField(_("when (UTC)"), default=timezone.now)

    class Meta:
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit entries")
        indexes = [
            models.Index(fields=["bundle_type", "scope_id", "-id"], name="updates_event_by_scope"),
            models.Index(fields=["-id"], condition=~models.Q(refusal=""), name="updates_event_refused"),
        ]

    def __str__(self) -> str:
        return f"{self.bundle_type}/{self.scope_id} {self.version} ({self.get_action_display()}, {self.actor_name})"


class CatalogueRevision(models.Model):
    """One row whose number changes with every change of a release, in the same transaction, by a trigger.

    Workers compare it to know whether their picture of the releases is still true.
    """

    id = models.SmallIntegerField(primary_key=True)
    revision = models.BigIntegerField()

    def __str__(self) -> str:
        return str(self.revision)


DEVICE_SCOPE: Final = ("device", "")
"""(bundle_type, scope_id) that stands for the device itself: its row says when the device last checked anything."""

OTHER_VERSION: Final = "?"
"""What a version counts as that was never published in its scope: clients may send anything, counts stay few."""


class DeviceBundle(models.Model):
    """What a device said of one scope at its last check, and what it was offered then.

    `updates.services.adoption` writes it, and says when it lags. The rows of a session that was superseded by another
    login stay until the same device has checked the same scope with the new one.
    """

    pk = models.CompositePrimaryKey("session_id", "bundle_type", "scope_id")
    session = models.ForeignKey(DeviceSession, on_delete=models.CASCADE, related_name="bundles", db_index=False)
    bundle_type = models.CharField(max_length=32)
    scope_id = models.CharField(max_length=160)
    version = models.CharField(max_length=64, help_text="As the device says; empty: nothing, or nothing readable.")
    counted_as = models.CharField(max_length=64, help_text="The version that it counts as in `AdoptionDay`.")
    offered_version = models.CharField(max_length=64, help_text="Empty: it has what it shall have.")
    first_seen_on = models.DateField(help_text="UTC.")
    last_seen_on = models.DateField(help_text="UTC.")

    # What the last change took the place of. PostgreSQL before 18 returns nothing of a row as it was before an upsert,
    # and counts must move by exactly that, whatever another check has just made of the row. Null: there was no row.
    previous_counted_as = models.CharField(max_length=64, null=True)
    previous_offered_version = models.CharField(max_length=64, null=True)
    previous_seen_on = models.DateField(null=True)

    class Meta:
        verbose_name = _("version on a device")
        verbose_name_plural = _("versions on devices")

    def __str__(self) -> str:
        return f"{self.bundle_type}/{self.scope_id} {self.version}"


class AdoptionDay(models.Model):
    """How many devices had a version of a scope and were offered another, on one day.

    A sum over the slots is the number: a scope that every device checks has several, so that checks don't queue for
    one row. A single slot may be negative.
    """

    pk = models.CompositePrimaryKey("bundle_type", "scope_id", "day", "version", "offered_version", "slot")
    bundle_type = models.CharField(max_length=32)
    scope_id = models.CharField(max_length=160)
    day = models.DateField(help_text="UTC.")
    version = models.CharField(
        max_length=64, help_text="Empty: nothing is installed; `?`: what never was a release here."
    )
    offered_version = models.CharField(max_length=64, help_text="Empty: it has what it shall have.")
    slot = models.SmallIntegerField()
    devices = models.IntegerField(default=0, help_text="Devices whose last check of that day said so.")
    latest = models.IntegerField(default=0, help_text="Those of them that have not checked since.")
    checks = models.BigIntegerField(default=0, help_text="Checks of all scopes; with the device itself only.")

    class Meta:
        verbose_name = _("devices of a day")
        verbose_name_plural = _("devices of days")
        indexes = [BrinIndex(fields=["day"], name="updates_adoption_by_day")]

    def __str__(self) -> str:
        return f"{self.bundle_type}/{self.scope_id} {self.version} ({self.day}, {self.devices})"
