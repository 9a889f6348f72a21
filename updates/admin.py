"""Releases in the admin. Every change goes through `updates.services`, which also writes the audit entry."""

from collections.abc import Callable
from functools import wraps
from typing import IO, Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.defaultfilters import filesizeformat

from accounts.models import User
from config.errors import ApiError
from updates import services
from updates.bundles import Bundle, BundleError, check_manifest, read_bundle
from updates.models import BundleRelease, BundleType, chapter_scope_id
from updates.services import ReleaseOptions

IDENTITY_FIELDS = ("bundle_type", "chapter", "scope_id", "version")
OPTION_FIELDS = (
    "is_mandatory",
    "min_desktop_version",
    "min_sidecar_version",
    "strict_versions",
    "rollout_basis_points",
    "publish_at",
)
FACT_FIELDS = (
    "state",
    "artifact_key",
    "external_url",
    "sha256",
    "size_bytes",
    "manifest",
    "cohort_key",
    "published_at",
    "first_published_at",
    "withdrawn_at",
    "created_by",
    "created_at",
)


AdminView = Callable[..., HttpResponse]


def _reporting_refusals(view: AdminView) -> AdminView:
    """Show what a service refused as a message, on the page where it was asked for."""

    @wraps(view)
    def reporting(self: "BundleReleaseAdmin", request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return view(self, request, *args, **kwargs)
        except ApiError as error:
            reasons = [f"{detail['field']}: {detail['message']}" for detail in error.details]
            text = " ".join(reasons) or error.message or error.code.message
            self.message_user(request, text, messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    return reporting


class UploadForm(forms.ModelForm[BundleRelease]):
    """A new draft from an archive. A chapter's scope follows from the chapter, the experts from the manifest."""

    archive = forms.FileField(help_text="bundle.tar.gz with bundle.manifest.json at its root.")
    bundle: Bundle

    class Meta:
        model = BundleRelease
        fields = (*IDENTITY_FIELDS, *OPTION_FIELDS)
        help_texts = {
            "chapter": "For a chapter's bundle only.",
            "scope_id": "core for app agents, shared for shared experts, or an expert's id; empty for a chapter.",
            "version": "A version that no release of this scope has had, such as 1.2.0.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["scope_id"].required = False

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        chapter = cleaned.get("chapter")
        if cleaned.get("bundle_type") == BundleType.CHAPTER and chapter is not None:
            cleaned["scope_id"] = chapter_scope_id(chapter.course_id, chapter.chapter_code)
        elif not cleaned.get("scope_id") and not self.errors:
            self.add_error("scope_id", "Give the scope, or the chapter of a chapter's bundle.")
        if not self.errors:
            self._read_archive(cleaned["archive"], cleaned)
        return cleaned

    def options(self) -> ReleaseOptions:
        return ReleaseOptions(**{name: self.cleaned_data[name] for name in OPTION_FIELDS})

    def _read_archive(self, archive: IO[bytes], cleaned: dict[str, Any]) -> None:
        try:
            self.bundle = read_bundle(archive)
            check_manifest(
                self.bundle.manifest,
                bundle_type=cleaned["bundle_type"],
                scope_id=cleaned["scope_id"],
                version=cleaned["version"],
            )
        except BundleError as error:
            self.add_error("archive", str(error))


@admin.register(BundleRelease)
class BundleReleaseAdmin(admin.ModelAdmin[BundleRelease]):
    list_display = ("bundle_type", "course", "scope_id", "version", "state", "rollout", "size", "published_at")
    list_display_links = ("scope_id", "version")
    list_filter = ("state", "bundle_type", "is_mandatory")
    search_fields = ("scope_id", "version", "chapter__title", "chapter__course__course_code")
    ordering = ("-created_at",)
    autocomplete_fields = ("chapter",)
    actions = ("publish", "withdraw")
    show_full_result_count = False

    # --- What is shown, and what can be changed ---

    @admin.display(description="Course")
    def course(self, release: BundleRelease) -> str:
        return release.chapter.course.course_code if release.chapter else ""

    @admin.display(description="Rollout", ordering="rollout_basis_points")
    def rollout(self, release: BundleRelease) -> str:
        return f"{release.rollout_basis_points / 100:g} %"

    @admin.display(description="Size", ordering="size_bytes")
    def size(self, release: BundleRelease) -> str:
        return filesizeformat(release.size_bytes)

    def get_queryset(self, request: HttpRequest) -> QuerySet[BundleRelease]:
        return super().get_queryset(request).defer("manifest").select_related("chapter__course")

    def get_form(self, request: Any, obj: Any | None = None, change: bool = False, **kwargs: Any) -> Any:
        if obj is None:
            kwargs["form"] = UploadForm
        return super().get_form(request, obj, change, **kwargs)

    def get_fields(self, request: HttpRequest, obj: BundleRelease | None = None) -> list[Any]:
        if obj is None:
            return [*IDENTITY_FIELDS, "archive", *OPTION_FIELDS]
        return [*IDENTITY_FIELDS, "required_experts", *OPTION_FIELDS, *FACT_FIELDS]

    def get_readonly_fields(self, request: HttpRequest, obj: BundleRelease | None = None) -> list[str]:
        """A new release has none; of a draft the options can be changed, of any other nothing."""
        if obj is None:
            return []
        if obj.state == BundleRelease.State.DRAFT:
            return [*IDENTITY_FIELDS, *FACT_FIELDS]
        return self.get_fields(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: BundleRelease | None = None) -> bool:
        """The database refuses it as well for a release that was ever published."""
        return super().has_delete_permission(request, obj) and (obj is None or obj.first_published_at is None)

    # --- What staff do: the services do it, in transactions of their own, and keep the audit ---

    @_reporting_refusals
    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Like Django's, but without a transaction around it: an upload to the store would keep it open."""
        response: HttpResponse = self._changeform_view(request, object_id, form_url, extra_context)  # type: ignore[attr-defined]
        return response

    @_reporting_refusals
    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, extra_context)

    @_reporting_refusals
    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().delete_view(request, object_id, extra_context)

    def save_model(self, request: HttpRequest, obj: BundleRelease, form: Any, change: bool) -> None:
        if change:
            changes = {name: form.cleaned_data[name] for name in form.changed_data}
            services.update_draft(release=obj, changes=changes, actor=_actor(request))
            return
        release = services.upload_draft(
            bundle=form.bundle,
            bundle_type=obj.bundle_type,
            scope_id=obj.scope_id,
            version=obj.version,
            actor=_actor(request),
            options=form.options(),
        )
        obj.pk = release.pk

    def delete_model(self, request: HttpRequest, obj: BundleRelease) -> None:
        services.delete_draft(release=obj, actor=_actor(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[BundleRelease]) -> None:
        for release in queryset:
            services.delete_draft(release=release, actor=_actor(request))

    @admin.action(description="Publish (several together share one rollout cohort)", permissions=["change"])
    def publish(self, request: HttpRequest, releases: QuerySet[BundleRelease]) -> None:
        chosen = list(releases.order_by("created_at"))
        services.publish_releases(releases=chosen, actor=_actor(request))
        self.message_user(request, f"Published {_names(chosen)}.", messages.SUCCESS)

    @admin.action(description="Withdraw: devices go back to the release before", permissions=["change"])
    def withdraw(self, request: HttpRequest, releases: QuerySet[BundleRelease]) -> None:
        chosen = list(releases.order_by("created_at"))
        services.withdraw_releases(releases=chosen, actor=_actor(request))
        self.message_user(request, f"Withdrew {_names(chosen)}.", messages.SUCCESS)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """The service has written the entry, in the transaction of the change; so in the two below."""

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any: ...

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any: ...


def _actor(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user


def _names(releases: list[BundleRelease]) -> str:
    return ", ".join(str(release) for release in releases)
