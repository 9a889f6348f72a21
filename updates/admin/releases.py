"""Releases in the admin: uploading, looking, and what is done to them."""

from collections.abc import Iterable, Mapping
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import PAGE_VAR
from django.contrib.postgres.forms import SimpleArrayField
from django.core.exceptions import PermissionDenied
from django.core.validators import RegexValidator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.text import capfirst

from config import limits
from config.errors import ApiError, ErrorCode
from config.uploads import slow_place
from updates.admin.acts import ActForm, PublishForm, WidenForm, WithdrawForm, WithdrawOnlyTheseForm
from updates.admin.common import (
    ObjectActionsMixin,
    PercentField,
    acting,
    add_refusal,
    bundle_label,
    label,
    labels,
    minute,
    percent,
    refusal_text,
    reporting_refusals,
)
from updates.admin.events import describe_changes
from updates.bundles.manifest import MINIMUM_VERSIONS
from updates.models import (
    EXPERT_ID_PATTERN,
    Ability,
    BundleRelease,
    BundleType,
    ReleaseEvent,
    chapter_scope_id,
)
from updates.principals import PERMISSIONS, Principal
from updates.selection import WHOLE_ROLLOUT
from updates.services import drafts
from updates.services.drafts import Draft, ReleaseOptions
from updates.services.verification import verify_release

State = BundleRelease.State

IDENTITY_FIELDS = ("bundle_type", "chapter", "scope_id", "version")
OPTION_FIELDS = (
    "is_mandatory",
    "min_desktop_version",
    "min_sidecar_version",
    "strict_versions",
    "rollout_basis_points",
    "publish_at",
)
TIME_FIELDS = ("published_at", "first_published_at", "withdrawn_at")
HISTORY_PER_PAGE = 100
FILES_SHOWN = 200


class OptionsForm(forms.ModelForm[BundleRelease]):
    """What can be said of a draft: for whom it is, and from when."""

    rollout_basis_points = PercentField(
        label="Rollout (%)",
        initial=10_000,
        help_text="The share of the devices that get it; asked again at publishing.",
    )

    class Meta:
        model = BundleRelease
        fields: tuple[str, ...] = OPTION_FIELDS
        labels = {
            "is_mandatory": "Mandatory",
            "min_desktop_version": "Minimum desktop version",
            "min_sidecar_version": "Minimum sidecar version",
            "strict_versions": "Strict about versions",
            "publish_at": "Offered from (UTC)",
            "scope_id": "Scope",
            "sha256": "SHA-256",
            "external_url": "URL elsewhere",
        }
        help_texts = {
            "strict_versions": "Devices that don't tell their version don't get it.",
            "publish_at": "Empty: as soon as it is published.",
        }


class DraftForm(OptionsForm):
    """A draft that is there already."""

    required_experts = SimpleArrayField(
        forms.CharField(
            validators=[
                RegexValidator(
                    rf"\A{EXPERT_ID_PATTERN.pattern}\Z",
                    "an id has letters, digits, dot, underscore and hyphen only, and no dot at the start.",
                )
            ]
        ),
        required=False,
        help_text="Ids of the experts that a chapter needs, with commas between.",
        error_messages={"item_invalid": "Expert %(nth)s:"},
    )


class ArchiveField(forms.FileField):
    def to_python(self, data: Any) -> Any:
        """Name the limit to whoever sent more; the rest of such an archive was never kept."""
        if getattr(data, "is_too_large", False):
            raise forms.ValidationError(
                f"The archive is too large: {filesizeformat(limits.BUNDLE_ARCHIVE_MAX_BYTES)} are the limit."
            )
        return super().to_python(data)


class UploadForm(OptionsForm):
    """A new draft from an archive. A chapter's scope follows from the chapter, the experts from the manifest.

    The upload is the last step of validating the form, so that what the service refuses is an error of the form.
    """

    archive = ArchiveField(help_text="bundle.tar.gz with bundle.manifest.json at its root.")

    principal: Principal
    draft: Draft

    class Meta(OptionsForm.Meta):
        fields = (*IDENTITY_FIELDS, *OPTION_FIELDS)
        help_texts = {
            **OptionsForm.Meta.help_texts,
            **dict.fromkeys(MINIMUM_VERSIONS, "A semantic version such as 1.4.0. Empty: as the manifest says, or any."),
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
        if cleaned.get("bundle_type") == BundleType.CHAPTER:
            if chapter is not None:
                cleaned["scope_id"] = chapter_scope_id(chapter.course_id, chapter.chapter_code)
            elif "chapter" not in self.errors:
                self.add_error("chapter", "Choose the chapter that the bundle is for.")
        elif chapter is not None:
            self.add_error("chapter", "Only a chapter's bundle has a chapter.")
        elif not cleaned.get("scope_id") and "scope_id" not in self.errors:
            self.add_error("scope_id", "Give the scope that the bundle is for.")
        return cleaned

    def _post_clean(self) -> None:
        """The service makes the model's checks too, and it alone knows the bytes under a version."""
        if self.errors:
            return
        try:
            self.draft = self._upload()
        except ApiError as error:
            self._show(error)

    def _upload(self) -> Draft:
        archive = self.cleaned_data["archive"]
        return drafts.upload_draft(
            file=archive,
            bundle_type=self.cleaned_data["bundle_type"],
            scope_id=self.cleaned_data["scope_id"],
            version=self.cleaned_data["version"],
            principal=self.principal,
            options=self._options(),
            sha256=getattr(archive, "sha256", None),
        )

    def _options(self) -> ReleaseOptions:
        """A minimum that is left empty is for the manifest to say."""
        given = {name: self.cleaned_data[name] for name in OPTION_FIELDS}
        return ReleaseOptions(**{**given, **{name: given[name] or None for name in MINIMUM_VERSIONS}})

    def _show(self, error: ApiError) -> None:
        if error.code is not ErrorCode.BUNDLE_INVALID:
            add_refusal(self, error)
            return
        for fault in error.details:
            path = "" if fault["field"] == "archive" else f"{fault['field']}: "
            self.add_error("archive", f"{path}{fault['message']}")


@admin.register(BundleRelease)
class BundleReleaseAdmin(ObjectActionsMixin, admin.ModelAdmin[BundleRelease]):
    list_display = ("bundle", "version", "state", "rollout", "published", "size")
    list_display_links = ("bundle", "version")
    list_filter = ("state", "bundle_type", "is_mandatory")
    search_fields = ("scope_id", "version", "chapter__title", "chapter__course__course_code")
    ordering = ("-published_at", "-created_at")  # PostgreSQL puts what was never published on top
    autocomplete_fields = ("chapter",)
    actions = ("publish", "widen", "withdraw", "withdraw_only_these", "verify", "delete_selected")
    show_full_result_count = False

    # --- What is shown, and what can be changed ---

    @admin.display(description="Bundle", ordering="scope_id")
    def bundle(self, release: BundleRelease) -> str:
        return bundle_label(release)

    @admin.display(description="Rollout", ordering="rollout_basis_points")
    def rollout(self, release: BundleRelease) -> str:
        return percent(release.rollout_basis_points)

    @admin.display(description="Size", ordering="size_bytes")
    def size(self, release: BundleRelease) -> str:
        return filesizeformat(release.size_bytes)

    @admin.display(description="Published (UTC)", ordering="published_at")
    def published(self, release: BundleRelease) -> str | None:
        if release.state == State.PUBLISHED and release.publish_at and release.publish_at > timezone.now():
            return format_html("<strong>scheduled</strong> from {} UTC", minute(release.publish_at))
        return minute(release.published_at)

    @admin.display(description="Required experts")
    def experts(self, release: BundleRelease) -> str:
        return ", ".join(release.required_experts)

    @admin.display(description="Contents")
    def contents(self, release: BundleRelease) -> str:
        """Show the manifest's files; of a bundle elsewhere it is whatever was registered."""
        listed = release.manifest.get("files")
        files = [file for file in listed if isinstance(file, dict)] if isinstance(listed, list) else []
        rows = format_html_join("", "<li>{} ({})</li>", map(_file_row, files[:FILES_SHOWN]))
        more = format_html("<li>and {} more</li>", len(files) - FILES_SHOWN) if len(files) > FILES_SHOWN else ""
        count = f"{len(files):,} file{'' if len(files) == 1 else 's'}"
        return format_html("<details><summary>{}</summary><ul>{}{}</ul></details>", count, rows, more)

    def get_queryset(self, request: HttpRequest) -> QuerySet[BundleRelease]:
        return super().get_queryset(request).defer("manifest").select_related("chapter__course")

    def get_form(self, request: Any, obj: Any | None = None, change: bool = False, **kwargs: Any) -> Any:
        if obj is not None:
            told = ("required_experts", *IDENTITY_FIELDS, *OPTION_FIELDS)
            fixed = [name for name in told if name in self.get_readonly_fields(request, obj)]
            kwargs["help_texts"] = {**DraftForm.Meta.help_texts, **dict.fromkeys(fixed, "")}
        form = super().get_form(request, obj, change, form=DraftForm if obj else UploadForm, **kwargs)
        form.principal = acting(request)  # type: ignore[attr-defined]
        return form

    def get_fieldsets(self, request: HttpRequest, obj: BundleRelease | None = None) -> Any:
        if obj is None:
            return [(None, {"fields": [*IDENTITY_FIELDS, "archive", *OPTION_FIELDS]})]
        experts = "required_experts" if self._may_edit(request, obj) else "experts"
        return [
            (None, {"fields": ["state", *self._identity(obj)]}),
            ("For whom, and from when", {"fields": [experts, *self._options(request, obj)]}),
            ("What is known of it", {"fields": self._facts(obj)}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: BundleRelease | None = None) -> list[str]:
        """A new release has none; of a draft the options can be changed, of any other nothing."""
        if obj is None:
            return []
        options = [] if self._may_edit(request, obj) else ["experts", *self._options(request, obj)]
        return ["state", *self._identity(obj), *options, *self._facts(obj)]

    def _identity(self, obj: BundleRelease) -> list[str]:
        return [name for name in IDENTITY_FIELDS if name != "chapter" or obj.chapter]

    def _options(self, request: HttpRequest, obj: BundleRelease) -> list[str]:
        if self._may_edit(request, obj):
            return list(OPTION_FIELDS)
        return ["rollout" if name == "rollout_basis_points" else name for name in OPTION_FIELDS]

    def _facts(self, obj: BundleRelease) -> list[str]:
        times = [name for name in TIME_FIELDS if getattr(obj, name)]
        place = "external_url" if obj.external_url else "artifact_key"
        return [*times, "verified_at", "created_by", "created_at", place, "size", "sha256", "contents"]

    def _may_edit(self, request: HttpRequest, obj: BundleRelease) -> bool:
        return obj.state == State.DRAFT and self.has_change_permission(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: BundleRelease | None = None) -> bool:
        """Without it a page has no buttons to save."""
        return super().has_change_permission(request, obj) and (obj is None or obj.state == State.DRAFT)

    def has_delete_permission(self, request: HttpRequest, obj: BundleRelease | None = None) -> bool:
        """The database refuses it as well for a release that was ever published."""
        return super().has_delete_permission(request, obj) and (obj is None or obj.first_published_at is None)

    def has_publish_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm(PERMISSIONS[Ability.PUBLISH]))

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        context |= {"show_save_and_add_another": False, "show_save_and_continue": False}
        if context["original"]:
            context["subtitle"] = label(context["original"])
        return super().render_change_form(request, context, *args, **kwargs)

    def object_actions(self, obj: BundleRelease) -> Mapping[str, str]:
        verify = {"verify": "Verify the bytes"}
        if obj.state != State.PUBLISHED:
            return {"publish": "Publish" if obj.state == State.DRAFT else "Publish again", **verify}
        widen = {"widen": "Widen the rollout"} if obj.rollout_basis_points < WHOLE_ROLLOUT else {}
        return {**widen, "withdraw": "Withdraw", **verify}

    # --- Uploading, changing, deleting: the services do it, in transactions of their own, and keep the audit ---

    @reporting_refusals
    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Like Django's, but without a transaction around it: an upload to the store would keep it open."""
        try:
            response: HttpResponse = self._changeform_view(request, object_id, form_url, extra_context)  # type: ignore[attr-defined]
        except PermissionDenied:
            if object_id is None or not super().has_change_permission(request):
                raise
            message = "Only a draft can be changed. This is how the release is now."
            raise ApiError(ErrorCode.BUNDLE_RELEASE_CONFLICT, message) from None
        return response

    @reporting_refusals
    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Like Django's, but without a transaction around it: what the audit says of a refusal would be lost."""
        response: HttpResponse = self._delete_view(request, object_id, extra_context)  # type: ignore[attr-defined]
        return response

    @reporting_refusals
    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, extra_context)

    def save_form(self, request: HttpRequest, form: Any, change: bool) -> Any:
        saved = super().save_form(request, form, change)
        return saved if change else form.draft.release

    def save_model(self, request: HttpRequest, obj: BundleRelease, form: Any, change: bool) -> None:
        """An uploaded draft is saved already, by its form."""
        if change:
            changes = {name: form.cleaned_data[name] for name in form.changed_data}
            drafts.update_draft(release=obj, changes=changes, principal=acting(request))
            self._tell(request, drafts.draft_warnings(obj))
        else:
            self._tell_of_upload(request, form.draft)

    def _tell_of_upload(self, request: HttpRequest, draft: Draft) -> None:
        if draft.is_new:
            self.message_user(request, f"Uploaded {label(draft.release)}. It is a draft until somebody publishes it.")
        else:
            text = f"Nothing new: {label(draft.release)} has these bytes already."
            self.message_user(request, text, messages.WARNING)
        self._tell(request, draft.warnings)

    def response_add(
        self, request: HttpRequest, obj: BundleRelease, post_url_continue: str | None = None
    ) -> HttpResponse:
        return HttpResponseRedirect(reverse("admin:updates_bundlerelease_change", args=[obj.pk]))

    def delete_model(self, request: HttpRequest, obj: BundleRelease) -> None:
        drafts.delete_draft(release=obj, principal=acting(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[BundleRelease]) -> None:
        for release in queryset:
            drafts.delete_draft(release=release, principal=acting(request))

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """The service has written the entry, in the transaction of the change; so in the two below."""

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any: ...

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any: ...

    @admin.action(description="Delete drafts", permissions=["delete"])
    def delete_selected(self, request: HttpRequest, releases: QuerySet[BundleRelease]) -> HttpResponse | None:
        """Like Django's, which would speak of a lacking permission."""
        kept = releases.exclude(first_published_at=None)
        if kept:
            text = f"Only drafts that were never published can be deleted, which is not so of {labels(kept)}."
            self.message_user(request, text, messages.ERROR)
            return None
        return delete_selected(self, request, releases)

    # --- Publishing, widening, withdrawing, verifying ---

    @admin.action(description="Publish (several together share one rollout)", permissions=["publish"])
    def publish(self, request: HttpRequest, releases: QuerySet[BundleRelease]) -> HttpResponse | None:
        return self._act(request, releases, PublishForm)

    @admin.action(description="Widen the rollout (also of those published together)", permissions=["publish"])
    def widen(self, request: HttpRequest, releases: QuerySet[BundleRelease]) -> HttpResponse | None:
        return self._act(request, releases, WidenForm)

    @admin.action(description="Withdraw (also those published together)", permissions=["publish"])
    def withdraw(self, request: HttpRequest, releases: QuerySet[BundleRelease]) -> HttpResponse | None:
        return self._act(request, releases, WithdrawForm)

    @admin.action(description="Withdraw only these", permissions=["publish"])
    def withdraw_only_these(self, request: HttpRequest, releases: QuerySet[BundleRelease]) -> HttpResponse | None:
        return self._act(request, releases, WithdrawOnlyTheseForm)

    @admin.action(description="Verify the bytes", permissions=["add"])
    def verify(self, request: HttpRequest, releases: QuerySet[BundleRelease]) -> None:
        for release in _some(releases):
            try:
                with slow_place():
                    verify_release(release=release, principal=acting(request))
            except ApiError as error:
                self.message_user(request, f"{label(release)}: {refusal_text(error)}", messages.ERROR)
            else:
                self.message_user(request, f"The bytes of {label(release)} are right.", messages.SUCCESS)

    def _act(
        self, request: HttpRequest, releases: QuerySet[BundleRelease], form_class: type[ActForm]
    ) -> HttpResponse | None:
        """Show the page that says what will happen; when it comes back, it is done."""
        confirmed = request.POST if "confirmed" in request.POST else None
        chosen = self._seen(request) if confirmed else _some(releases)
        for release in chosen:
            if release.state not in form_class.states:
                raise drafts.refusal(release, form_class.participle, form_class.expected)
        form = form_class(releases=chosen, principal=acting(request), data=confirmed)
        if form.is_valid():
            self._tell_of_act(request, form)
            return None
        companions = list(form.companions())
        outlooks = form.outlooks([*chosen, *companions])
        context = {
            **self.admin_site.each_context(request),
            "title": form.title,
            "opts": self.opts,
            "form": form,
            "action": form.action,
            "chosen": list(zip(chosen, map(label, chosen), outlooks[: len(chosen)], strict=True)),
            "companions": list(zip(map(label, companions), outlooks[len(chosen) :], strict=True)),
            "total": len(chosen) + len(companions),
        }
        return TemplateResponse(request, "admin/updates/act.html", context)

    def _seen(self, request: HttpRequest) -> list[BundleRelease]:
        """Return the chosen releases, each in the state in which whoever decides on it has seen it.

        So the service refuses what somebody else did to them meanwhile. They are looked up without the list's filters,
        which they may not match any more.
        """
        ids = set(request.POST.getlist(ACTION_CHECKBOX_NAME))
        found = list(self.get_queryset(request).filter(pk__in=ids).order_by("created_at"))
        if len(found) != len(ids) or not found:
            raise ApiError(ErrorCode.BUNDLE_RELEASE_CONFLICT, "One of these releases is gone. Nothing was done.")
        for release in found:
            release.state = request.POST.get(f"state-{release.pk}", release.state)
        return found

    def _tell_of_act(self, request: HttpRequest, form: ActForm) -> None:
        changed = self.get_queryset(request).filter(pk__in=[release.pk for release in form.act.releases])
        changed = changed.order_by("bundle_type", "scope_id", "version")
        self.message_user(request, f"{form.done()}: {labels(changed)}.", messages.SUCCESS)
        self._tell(request, form.act.notices)

    def _tell(self, request: HttpRequest, notices: Iterable[str]) -> None:
        for notice in notices:
            self.message_user(request, notice, messages.WARNING)

    # --- The audit ---

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the audit of this version: also refused uploads of other bytes, and drafts that were deleted."""
        release = self.get_object(request, unquote(object_id))
        if release is None:
            response: HttpResponse = self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[attr-defined]
            return response
        if not self.has_view_or_change_permission(request, release):
            raise PermissionDenied
        events = ReleaseEvent.objects.filter(
            bundle_type=release.bundle_type, scope_id=release.scope_id, version=release.version
        ).order_by("-pk")
        page = self.get_paginator(request, events, HISTORY_PER_PAGE).get_page(request.GET.get(PAGE_VAR, 1))
        context = {
            **self.admin_site.each_context(request),
            "title": f"History of {label(release)}",
            "object": release,
            "opts": self.opts,
            "module_name": str(capfirst(self.opts.verbose_name_plural)),
            "page": page,
            "page_range": page.paginator.get_elided_page_range(page.number),
            "page_var": PAGE_VAR,
            "entries": [(event, describe_changes(event)) for event in page],
        }
        return TemplateResponse(request, "admin/updates/bundlerelease/object_history.html", context)


def _some(releases: QuerySet[BundleRelease]) -> list[BundleRelease]:
    """Return the chosen ones, unless somebody ticked all of thousands."""
    chosen = list(releases.order_by("created_at")[: limits.RELEASES_PER_ACT_MAX + 1])
    if len(chosen) > limits.RELEASES_PER_ACT_MAX:
        message = f"At most {limits.RELEASES_PER_ACT_MAX} releases can be changed together."
        raise ApiError(ErrorCode.VALIDATION_ERROR, message)
    if not chosen:
        message = "None of the chosen releases is in this list any more. Nothing was done."
        raise ApiError(ErrorCode.BUNDLE_RELEASE_CONFLICT, message)
    return chosen


def _file_row(file: Mapping[str, Any]) -> tuple[str, str]:
    size = file.get("size_bytes")
    return str(file.get("path")), filesizeformat(size) if isinstance(size, int) else "?"
