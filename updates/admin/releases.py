"""Releases in the admin: uploading, looking, and what is done to them."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import PAGE_VAR
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.dateparse import parse_datetime
from django.utils.formats import date_format
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy
from django_stubs_ext import StrOrPromise

from config import limits
from config.admin import ModelAdmin
from config.errors import ApiError, ErrorCode
from config.uploads import slow_place
from updates.admin import release_page
from updates.admin.acts import (
    ActForm,
    PublishForm,
    PublishNowForm,
    RescheduleForm,
    ScheduleForm,
    WidenForm,
    WithdrawForm,
    WithdrawOnlyTheseForm,
)
from updates.admin.common import (
    Named,
    ObjectActionsMixin,
    acting,
    age,
    label,
    labelled,
    labels,
    listed,
    percent,
    refusal_text,
    reporting_refusals,
    state_of,
)
from updates.admin.events import describe
from updates.admin.release_forms import (
    IDENTITY_FIELDS,
    OPTION_FIELDS,
    DraftForm,
    FetchForm,
    NewDraftForm,
    RegisterForm,
    UploadForm,
)
from updates.admin.release_list import FILTERS, ReleaseList, search
from updates.admin.scopes import scope_urls
from updates.models import Ability, BundleRelease, ReleaseEvent
from updates.principals import PERMISSIONS
from updates.selection import WHOLE_ROLLOUT
from updates.services import drafts
from updates.services.drafts import Draft
from updates.services.verification import verify_release

State = BundleRelease.State

HISTORY_PER_PAGE = 100

FACT_LABELS: Mapping[str, StrOrPromise] = {
    "first_published_at": gettext_lazy("First published (UTC)"),
    "withdrawn_at": gettext_lazy("Withdrawn (UTC)"),
    "verified_at": gettext_lazy("Stored file checked (UTC)"),
    "created_by": gettext_lazy("Made by"),
    "created_at": gettext_lazy("Made (UTC)"),
    "artifact_key": gettext_lazy("Place in the store"),
}
FACT_HELP_TEXTS: Mapping[str, StrOrPromise] = {
    "verified_at": gettext_lazy("When the archive was last fetched from where it lies, and found right."),
}


@admin.register(BundleRelease)
class BundleReleaseAdmin(ObjectActionsMixin, ModelAdmin[BundleRelease]):
    list_display = ("version", "state", "rollout", "published", "size")
    list_filter = FILTERS
    list_filter_submit = True
    search_fields = ("scope_id",)  # `get_search_results` looks at more
    search_help_text = gettext_lazy("A scope, version, course code, chapter or checksum")
    autocomplete_fields = ("chapter",)
    add_text = gettext_lazy("Upload a release")
    actions = (
        "publish",
        "schedule",
        "publish_now",
        "reschedule",
        "widen",
        "withdraw",
        "withdraw_only_these",
        "verify",
        "delete_selected",
    )

    dangerous_actions = ("withdraw",)
    primary_actions = ("publish", "publish_now", "widen")

    class Media:
        css: ClassVar = {"all": ("updates/admin.css",)}

    # --- What is shown, and what can be changed ---

    @admin.display(description=gettext_lazy("Rollout"), ordering="rollout_basis_points")
    def rollout(self, release: BundleRelease) -> str:
        return percent(release.rollout_basis_points)

    @admin.display(description=gettext_lazy("State"))
    def stage(self, release: BundleRelease) -> str:
        return state_of(release)

    @admin.display(description=gettext_lazy("Size"), ordering="size_bytes")
    def size(self, release: BundleRelease) -> str:
        return filesizeformat(release.size_bytes)

    @admin.display(description=pgettext_lazy("when a release was", "Published"), ordering="published_at")
    def published(self, release: BundleRelease) -> str:
        return age(release.offered_since)

    @admin.display(description=gettext_lazy("Published (UTC)"))
    def offered_since(self, release: BundleRelease) -> str:
        return date_format(release.offered_since, "SHORT_DATETIME_FORMAT") if release.offered_since else ""

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ReleaseList]:
        return ReleaseList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[BundleRelease], search_term: str
    ) -> tuple[QuerySet[BundleRelease], bool]:
        return search(queryset, search_term), False

    @admin.display(description=gettext_lazy("Required experts"))
    def experts(self, release: BundleRelease) -> str:
        return listed(release.required_experts)

    def get_queryset(self, request: HttpRequest) -> QuerySet[BundleRelease]:
        return super().get_queryset(request).defer("manifest").select_related("chapter__course")

    def get_form(self, request: Any, obj: Any | None = None, change: bool = False, **kwargs: Any) -> Any:
        if obj is not None:
            told = ("required_experts", *IDENTITY_FIELDS, *OPTION_FIELDS)
            fixed = [name for name in told if name in self.get_readonly_fields(request, obj)]
            kwargs["help_texts"] = {**DraftForm.Meta.help_texts, **FACT_HELP_TEXTS, **dict.fromkeys(fixed, "")}
            kwargs["labels"] = {**DraftForm.Meta.labels, **FACT_LABELS}
        form = super().get_form(request, obj, change, form=DraftForm if obj else _form_of(request), **kwargs)
        form.principal = acting(request)  # type: ignore[attr-defined]
        return form

    def get_fieldsets(self, request: HttpRequest, obj: BundleRelease | None = None) -> Any:
        if obj is None:
            # All of these have defaults, and can be changed of the draft.
            options = {"fields": [*OPTION_FIELDS], "classes": ["collapse"]}
            return [
                (None, {"fields": [*_form_of(request).asked_fields]}),
                (_("For whom, and from when"), options),
            ]
        experts = "required_experts" if self._may_edit(request, obj) else "experts"
        return [
            (None, {"fields": ["stage", *self._identity(obj)]}),
            (_("For whom, and from when"), {"fields": [experts, *self._options(request, obj)]}),
            (_("Dates and file"), {"fields": self._facts(obj)}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: BundleRelease | None = None) -> list[str]:
        """A new release has none; of a draft the options can be changed, of any other nothing."""
        if obj is None:
            return []
        options = [] if self._may_edit(request, obj) else ["experts", *self._options(request, obj)]
        return ["stage", *self._identity(obj), *options, *self._facts(obj)]

    def _identity(self, obj: BundleRelease) -> list[str]:
        return [name for name in IDENTITY_FIELDS if name != "chapter" or obj.chapter]

    def _options(self, request: HttpRequest, obj: BundleRelease) -> list[str]:
        if self._may_edit(request, obj):
            return list(OPTION_FIELDS)
        return ["rollout" if name == "rollout_basis_points" else name for name in OPTION_FIELDS]

    def _facts(self, obj: BundleRelease) -> list[str]:
        names = {"offered_since": obj.offered_since, "first_published_at": _earlier_publication(obj)}
        times = [name for name, time in {**names, "withdrawn_at": obj.withdrawn_at}.items() if time]
        place = "external_url" if obj.external_url else "artifact_key"
        return [*times, "verified_at", "created_by", "created_at", place, "size", "sha256"]

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
        release = context["original"]
        if release:
            context |= {"title": label(release), "subtitle": label(release), "original": Named(release, label(release))}
            context |= release_page.context_of(release, may_publish=self.has_publish_permission(request))
        else:
            form = _form_of(request)
            context |= {"by_url": form is not UploadForm, "is_fetched": form is FetchForm}
            context["title"] = _("Register a release by its URL") if context["by_url"] else _("Upload a release")
        return super().render_change_form(request, context, *args, **kwargs)

    def object_actions(self, obj: BundleRelease) -> Mapping[str, str]:
        verify = {"verify": _("Check the stored file")}
        if obj.state != State.PUBLISHED:
            publish = _("Publish") if obj.state == State.DRAFT else _("Publish again")
            return {"publish": publish, "schedule": _("Schedule"), **verify}
        of_scheduled = {"publish_now": _("Publish now"), "reschedule": _("Change the time")} if obj.is_scheduled else {}
        widen = {"widen": _("Widen the rollout")} if obj.rollout_basis_points < WHOLE_ROLLOUT else {}
        return {**of_scheduled, **widen, "withdraw": _("Withdraw"), **verify}

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
            message = _("Only a draft can be changed. This is how the release is now.")
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
            self.message_user(
                request,
                _("Uploaded %(release)s. It is a draft until somebody publishes it.")
                % {"release": label(draft.release)},
            )
        else:
            text = _("Nothing new: %(release)s has these bytes already.") % {"release": label(draft.release)}
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

    @admin.action(description=gettext_lazy("Delete drafts"), permissions=["delete"])
    def delete_selected(self, request: HttpRequest, releases: QuerySet[BundleRelease]) -> HttpResponse | None:
        """Like Django's, which would speak of a lacking permission."""
        kept = releases.exclude(first_published_at=None)
        if kept:
            text = _("Only drafts that were never published can be deleted, which is not so of %(releases)s.")
            text %= {"releases": labels(kept)}
            self.message_user(request, text, messages.ERROR)
            return None
        return delete_selected(self, request, releases)

    # --- Publishing, widening, withdrawing, verifying ---

    @admin.action(description=gettext_lazy("Publish"), permissions=["publish"])
    def publish(self, request: HttpRequest, releases: QuerySet[BundleRelease]) -> HttpResponse | None:
        return self._act(request, releases, PublishForm)

    @admin.action(description=gettext_lazy("Schedule"), permissions=["publish"])
    def schedule(self, request: HttpRequest, releases: QuerySet[BundleRelease]) -> HttpResponse | None:
        return self._act(request, releases, ScheduleForm)

    @admin.action(
        description=gettext_lazy("Publish scheduled ones now, with those published together"), permissions=["publish"]
    )
    def publish_now(self, request: HttpRequest, releases: QuerySet[BundleRelease]) -> HttpResponse | None:
        return self._act(request, releases, PublishNowForm)

    @admin.action(
        description=gettext_lazy("Change the time of scheduled ones, with those published together"),
        permissions=["publish"],
    )
    def reschedule(self, request: HttpRequest, releases: QuerySet[BundleRelease]) -> HttpResponse | None:
        return self._act(request, releases, RescheduleForm)

    @admin.action(description=gettext_lazy("Widen the rollout, with those published together"), permissions=["publish"])
    def widen(self, request: HttpRequest, releases: QuerySet[BundleRelease]) -> HttpResponse | None:
        return self._act(request, releases, WidenForm)

    @admin.action(description=gettext_lazy("Withdraw, with those published together"), permissions=["publish"])
    def withdraw(self, request: HttpRequest, releases: QuerySet[BundleRelease]) -> HttpResponse | None:
        return self._act(request, releases, WithdrawForm)

    @admin.action(description=gettext_lazy("Withdraw only these"), permissions=["publish"])
    def withdraw_only_these(self, request: HttpRequest, releases: QuerySet[BundleRelease]) -> HttpResponse | None:
        return self._act(request, releases, WithdrawOnlyTheseForm)

    @admin.action(description=gettext_lazy("Check the stored file"), permissions=["add"])
    def verify(self, request: HttpRequest, releases: QuerySet[BundleRelease]) -> None:
        for release in _some(releases):
            try:
                with slow_place(acting(request)):
                    verify_release(release=release, principal=acting(request))
            except ApiError as error:
                self.message_user(request, labelled(label(release), refusal_text(error)), messages.ERROR)
            else:
                text = _("The stored file of %(release)s is as it should be.") % {"release": label(release)}
                self.message_user(request, text, messages.SUCCESS)

    def _act(
        self, request: HttpRequest, releases: QuerySet[BundleRelease], form_class: type[ActForm]
    ) -> HttpResponse | None:
        """Show the page that says what will happen; when it comes back, it is done."""
        confirmed = request.POST if "confirmed" in request.POST else None
        chosen = self._seen(request) if confirmed else _some(releases)
        for release in chosen:
            # What became of it since it was confirmed is for the service to say, and to keep in the audit.
            if release.state not in form_class.states or not (confirmed or form_class.may_have(release)):
                raise drafts.refusal(form_class.refusal, release)
        form = form_class(releases=chosen, principal=acting(request), data=confirmed)
        if form.is_valid():
            self._tell_of_act(request, form)
            return HttpResponseRedirect(_page_of(chosen)) if len(chosen) == 1 else None
        companions = list(form.companions())
        affected = form.affected([*chosen, *companions])
        context = {
            **self.admin_site.each_context(request),
            "title": form.title,
            "opts": self.opts,
            "form": form,
            "action": form.action,
            "variant": form.button_variant,
            "chosen": affected[: len(chosen)],
            "companions": affected[len(chosen) :],
            "total": len(affected),
            "summary": form.summary(len(affected)),
            "cancel_url": _page_of(chosen) if len(chosen) == 1 else "",
        }
        return TemplateResponse(request, "admin/updates/act.html", context)

    def _seen(self, request: HttpRequest) -> list[BundleRelease]:
        """Return the chosen releases, each in the state and with the time with which whoever decides has seen it.

        So the service refuses what somebody else did to them meanwhile. They are looked up without the list's filters,
        which they may not match any more.
        """
        ids = set(request.POST.getlist(ACTION_CHECKBOX_NAME))
        found = list(self.get_queryset(request).filter(pk__in=ids).order_by("created_at"))
        if len(found) != len(ids) or not found:
            raise ApiError(ErrorCode.BUNDLE_RELEASE_CONFLICT, _("One of these releases is gone. Nothing was done."))
        for release in found:
            release.state = request.POST.get(f"state-{release.pk}", release.state)
            if f"time-{release.pk}" in request.POST:
                release.publish_at = _moment(request.POST[f"time-{release.pk}"])
        return found

    def _tell_of_act(self, request: HttpRequest, form: ActForm) -> None:
        changed = self.get_queryset(request).filter(pk__in=[release.pk for release in form.act.releases])
        changed = changed.order_by("bundle_type", "scope_id", "version")
        text = _("%(done)s: %(releases)s.") % {"done": form.done(), "releases": labels(changed)}
        self.message_user(request, text, messages.SUCCESS)
        self._tell(request, form.act.notices)

    def _tell(self, request: HttpRequest, notices: Iterable[StrOrPromise]) -> None:
        for notice in notices:
            self.message_user(request, str(notice), messages.WARNING)

    # --- The audit ---

    def get_urls(self) -> list[Any]:
        compare = self.admin_site.admin_view(self.difference_view)
        return [
            *scope_urls(self),
            path("<path:object_id>/difference/", compare, name="updates_bundlerelease_difference"),
            *super().get_urls(),
        ]

    def difference_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show what a release changes in one text file of another release, as a page or, for scripts, a part of one."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        release = self.get_object(request, unquote(object_id))
        if release is None:
            raise Http404
        context = {
            **self.admin_site.each_context(request),
            "title": label(release),
            "opts": self.opts,
            "original": Named(release, label(release)),
            **release_page.find_difference(release, request.GET),
        }
        name = "file_difference" if "part" in request.GET else "difference"
        return TemplateResponse(request, f"admin/updates/bundlerelease/{name}.html", context)

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
            "title": _("History of %(release)s") % {"release": label(release)},
            "object": Named(release, label(release)),
            "opts": self.opts,
            "module_name": str(capfirst(self.opts.verbose_name_plural)),
            "page": page,
            "page_range": page.paginator.get_elided_page_range(page.number),
            "page_var": PAGE_VAR,
            "entries": describe(list(page)),
        }
        return TemplateResponse(request, "admin/updates/bundlerelease/object_history.html", context)


def _some(releases: QuerySet[BundleRelease]) -> list[BundleRelease]:
    """Return the chosen ones, unless somebody ticked all of thousands."""
    chosen = list(releases.order_by("created_at")[: limits.RELEASES_PER_ACT_MAX + 1])
    if len(chosen) > limits.RELEASES_PER_ACT_MAX:
        message = _("At most %(most)s releases can be changed together.") % {"most": limits.RELEASES_PER_ACT_MAX}
        raise ApiError(ErrorCode.VALIDATION_ERROR, message)
    if not chosen:
        message = _("None of the chosen releases is in this list any more. Nothing was done.")
        raise ApiError(ErrorCode.BUNDLE_RELEASE_CONFLICT, message)
    return chosen


def _moment(text: str) -> datetime | None:
    """Read a time that a page of ours has sent back; None for one that was tampered with."""
    try:
        return parse_datetime(text)
    except ValueError:
        return None


def _page_of(releases: Sequence[BundleRelease]) -> str:
    """Return where somebody goes on who acts on one release: to its page, which says what has become of it."""
    return reverse("admin:updates_bundlerelease_change", args=[releases[0].pk])


def _earlier_publication(release: BundleRelease) -> datetime | None:
    """Return when it was published first, if it was published again since."""
    return release.first_published_at if release.first_published_at != release.published_at else None


def _form_of(request: HttpRequest) -> type[NewDraftForm]:
    """Return the form of a new draft: from an archive, unless the page is asked for another one."""
    forms: dict[str | None, type[NewDraftForm]] = {"url": FetchForm, "fields": RegisterForm}
    return forms.get(request.GET.get("by"), UploadForm)
