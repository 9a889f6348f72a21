"""The page of a scope: what devices get, which versions they have, all its releases, and its history.

A release's page shows the same numbers for itself: `adoption_box` is what `admin/updates/adoption_box.html` shows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from django.contrib.admin.views.main import PAGE_VAR
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.formats import date_format, number_format
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from config import limits
from config.charts import Chart, Series
from courses.models import Chapter
from courses.selectors import canonical_uuid
from updates.admin.common import age, percent, state_of
from updates.admin.events import describe
from updates.adoption import RolloutProgress, rollout_progress, rollouts_progress, versions_by_day
from updates.models import FIXED_SCOPES, OTHER_VERSION, AdoptionDay, BundleRelease, BundleType, ReleaseEvent
from updates.selectors import find_current

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin

State = BundleRelease.State

RELEASES_PER_PAGE: Final = 25
HISTORY_PER_PAGE: Final = 100
ROLLOUTS_SHOWN: Final = 10
VERSIONS_SHOWN: Final = 5
"""Versions with a colour of their own in the chart; the rest share one."""

HISTORY_TAB: Final = "history"


@dataclass(frozen=True, slots=True)
class Scope:
    """What releases are of."""

    bundle_type: BundleType
    scope_id: str
    chapter: Chapter | None
    """With its course."""

    @property
    def name(self) -> str:
        """Name it for people: they know a course by its code, not by its UUID."""
        if self.bundle_type in FIXED_SCOPES:
            return str(self.bundle_type.label)
        name = f"{self.chapter.course.course_code}/{self.chapter.chapter_code}" if self.chapter else self.scope_id
        return f"{self.bundle_type.label} {name}"

    @property
    def url(self) -> str:
        return reverse("admin:updates_scope", args=[self.bundle_type.value, self.scope_id])

    @property
    def upload_url(self) -> str:
        """Where a release of it is uploaded, with what the archive may not know."""
        address = reverse("admin:updates_bundlerelease_add")
        return f"{address}?{urlencode({'chapter': str(self.chapter.pk)})}" if self.chapter else address


@dataclass(frozen=True, slots=True)
class AdoptionBox:
    """How far a release got, in words and numbers."""

    release: BundleRelease
    progress: RolloutProgress

    @property
    def has_numbers(self) -> bool:
        """Whether devices are on their way to it, or have arrived."""
        return bool(self.progress.offered) and self.release.state != State.WITHDRAWN

    @property
    def sentence(self) -> str:
        """The consequence first: how many still wait."""
        progress = self.progress
        if self.release.state == State.WITHDRAWN:
            return self._left_over()
        if not progress.offered:
            return self._nothing_yet()
        if not progress.behind:
            return ngettext(
                "The one device that was offered it has it.",
                "All %(offered)s devices that were offered it have it.",
                progress.offered,
            ) % {"offered": _number(progress.offered)}
        return ngettext(
            "%(behind)s of %(offered)s device that was offered it is still behind.",
            "%(behind)s of %(offered)s devices that were offered it are still behind.",
            progress.offered,
        ) % {"behind": _number(progress.behind), "offered": _number(progress.offered)}

    def _left_over(self) -> str:
        if not self.progress.installed:
            return _("It is withdrawn: no device is offered it, and none had it when it last checked.")
        return ngettext(
            "It is withdrawn: no device is offered it. %(installed)s device still had it when it last checked.",
            "It is withdrawn: no device is offered it. %(installed)s devices still had it when they last checked.",
            self.progress.installed,
        ) % {"installed": _number(self.progress.installed)}

    def _nothing_yet(self) -> str:
        if self.release.is_scheduled:
            return _(
                "No device is offered it before its time. From then on you see here how many have it and how many are "
                "still behind."
            )
        return _(
            "No device was offered it yet, and none has it. As soon as devices check, you see here how many have it "
            "and how many are still behind."
        )

    @property
    def installed_share(self) -> str:
        return self._share(self.progress.installed)

    @property
    def behind_share(self) -> str:
        return self._share(self.progress.behind)

    @property
    def window_days(self) -> int:
        return limits.ADOPTION_WINDOW_DAYS

    def _share(self, number: int) -> str:
        """In percent of the devices that checked the scope, as style sheets have it."""
        return f"{100 * number / self.progress.seen:.2f}" if self.progress.seen else "0"


@dataclass(frozen=True, slots=True)
class Offer:
    """A release that devices are offered, or will be."""

    release: BundleRelease
    adoption: AdoptionBox
    now: bool
    """Its time has come."""

    @property
    def rollout(self) -> str:
        return percent(self.release.rollout_basis_points)

    @property
    def age(self) -> str:
        return age(self.release.offered_since)

    @property
    def state(self) -> str:
        return state_of(self.release)


@dataclass(frozen=True, slots=True)
class Row:
    """A release in the page's list."""

    release: BundleRelease
    is_current: bool

    @property
    def state(self) -> str:
        return state_of(self.release)

    @property
    def rollout(self) -> str:
        return "" if self.release.state == State.DRAFT else percent(self.release.rollout_basis_points)

    @property
    def age(self) -> str:
        return age(self.release.offered_since)


def _number(number: int) -> str:
    return number_format(number, force_grouping=True)


def adoption_box(release: BundleRelease) -> AdoptionBox | None:
    """Return what `admin/updates/adoption_box.html` shows of a release, as `adoption`; None for a mere draft.

    One query.
    """
    if release.first_published_at is None:
        return None
    return AdoptionBox(release, rollout_progress(release=release))


def scope_urls(model_admin: "ModelAdmin[BundleRelease]") -> list[Any]:
    """The page's address. It goes before any other that a scope's id could look like."""
    view = model_admin.admin_site.admin_view(partial(scope_view, model_admin))
    return [path("scope/<str:bundle_type>/<path:scope_id>/", view, name="updates_scope")]


def scope_view(
    model_admin: "ModelAdmin[BundleRelease]", request: HttpRequest, bundle_type: str, scope_id: str
) -> HttpResponse:
    """Show a scope: how it is now, or with `tab=history` what was done to it.

    Raises:
        PermissionDenied: the person may see no releases.
        Http404: there is no such scope.
    """
    if not model_admin.has_view_or_change_permission(request):
        raise PermissionDenied
    scope = find_scope(bundle_type, scope_id)
    shows_history = request.GET.get("tab") == HISTORY_TAB
    shown = _history(model_admin, request, scope) if shows_history else _overview(model_admin, request, scope)
    context = {
        **model_admin.admin_site.each_context(request),
        "title": scope.name,  # the page's heading, since there are no `opts`
        "scope": scope,
        "tab": HISTORY_TAB if shows_history else "",
        "page_var": PAGE_VAR,
        "may_upload": model_admin.has_add_permission(request),
        **shown,
    }
    name = "scope_history" if shows_history else "scope"
    return TemplateResponse(request, f"admin/updates/{name}.html", context)


def find_scope(bundle_type: str, scope_id: str) -> Scope:
    """Return a scope that clients may ask for, or that something is known of. At most three queries.

    Raises:
        Http404: there is none.
    """
    if bundle_type not in BundleType.values:
        raise Http404
    chapter = _chapter_of(scope_id) if bundle_type == BundleType.CHAPTER else None
    scope = Scope(BundleType(bundle_type), scope_id, chapter)
    if chapter is None and FIXED_SCOPES.get(bundle_type) != scope_id and not _is_known(scope):
        raise Http404
    return scope


def _chapter_of(scope_id: str) -> Chapter | None:
    course_id, _slash, chapter_code = scope_id.partition("/")
    parsed = canonical_uuid(course_id)
    if parsed is None or str(parsed) != course_id:
        return None
    return Chapter.objects.select_related("course").filter(course_id=parsed, chapter_code=chapter_code).first()


def _is_known(scope: Scope) -> bool:
    wanted = {"bundle_type": scope.bundle_type, "scope_id": scope.scope_id}
    return "\x00" not in scope.scope_id and any(
        model.objects.filter(**wanted).exists() for model in (BundleRelease, ReleaseEvent, AdoptionDay)
    )


# --- How it is now ------------------------------------------------------------------------------------------------


def _overview(model_admin: "ModelAdmin[BundleRelease]", request: HttpRequest, scope: Scope) -> dict[str, Any]:
    """Six queries, however many releases and devices."""
    current = find_current(bundle_type=scope.bundle_type, scope_id=scope.scope_id)
    under_way = _under_way(scope, current)
    progress = rollouts_progress(releases=[*under_way, *([current] if current else [])])
    offers = [_offer(release, progress) for release in under_way]
    releases = _releases(scope).order_by("-published_at", "-created_at", "-pk")
    page = model_admin.get_paginator(request, releases, RELEASES_PER_PAGE).get_page(request.GET.get(PAGE_VAR, 1))
    return {
        "current": _offer(current, progress) if current else None,
        "offers": offers,
        "rows": [Row(release, is_current=release == current) for release in page],
        "page": page,
        "page_range": page.paginator.get_elided_page_range(page.number),
        "chart": chart_of_versions(scope),
        "window_days": limits.ADOPTION_WINDOW_DAYS,
    }


def _offer(release: BundleRelease, progress: Mapping[UUID, RolloutProgress]) -> Offer:
    return Offer(release, AdoptionBox(release, progress[release.pk]), now=not release.is_scheduled)


def _releases(scope: Scope) -> Any:
    return BundleRelease.objects.filter(bundle_type=scope.bundle_type, scope_id=scope.scope_id).defer("manifest")


def _under_way(scope: Scope, current: BundleRelease | None) -> Sequence[BundleRelease]:
    """What was published after the release for all: it goes to a part of the devices, or its time is yet to come."""
    newer = _releases(scope).filter(state=State.PUBLISHED)
    if current is not None:
        newer = newer.filter(published_at__gte=current.published_at).exclude(pk=current.pk)
    return list(newer.order_by("-published_at", "-pk")[:ROLLOUTS_SHOWN])


def chart_of_versions(scope: Scope) -> Chart:
    """The devices of each of the last days by their version. One query."""
    found = versions_by_day(bundle_type=scope.bundle_type, scope_id=scope.scope_id)
    common = sorted(found.devices, key=lambda version: sum(found.devices[version]), reverse=True)
    own = {*common[:VERSIONS_SHOWN], "", OTHER_VERSION} & set(found.devices)
    names = {"": _("Nothing installed"), OTHER_VERSION: _("Not a release of ours")}
    series = [
        Series(names.get(version, version), found.devices[version]) for version in found.devices if version in own
    ]
    if rest := [numbers for version, numbers in found.devices.items() if version not in own]:
        series.append(Series(_("Other releases"), [sum(day) for day in zip(*rest, strict=True)]))
    return Chart(
        title=_("Devices by version, each of the last %(days)s days (UTC)") % {"days": len(found.days)},
        labels=[date_format(day, "MONTH_DAY_FORMAT") for day in found.days],
        label_heading=_("Day"),
        series=series,
        kind="stacked",
        empty=_("No device has checked this yet. Each device that does is counted here, by the version that it has."),
    )


# --- What was done to it ------------------------------------------------------------------------------------------


def _history(model_admin: "ModelAdmin[BundleRelease]", request: HttpRequest, scope: Scope) -> dict[str, Any]:
    """Two queries."""
    events = ReleaseEvent.objects.filter(bundle_type=scope.bundle_type, scope_id=scope.scope_id).order_by("-pk")
    page = model_admin.get_paginator(request, events, HISTORY_PER_PAGE).get_page(request.GET.get(PAGE_VAR, 1))
    return {
        "page": page,
        "page_range": page.paginator.get_elided_page_range(page.number),
        "entries": describe(list(page)),
    }
