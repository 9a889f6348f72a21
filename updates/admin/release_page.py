"""What the page of a release shows besides its fields: its files, what it changes, and what publishing it would do."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.http import Http404
from django.urls import NoReverseMatch, reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from config.errors import ApiError
from config.uploads import slow_place
from courses.selectors import canonical_uuid
from updates.admin.acts import planned_for
from updates.admin.common import percent, refusal_text, state_of
from updates.admin.outlook import Outlook, outlook_of_offer, outlook_of_publication, outlook_of_schedule
from updates.admin.scopes import adoption_box
from updates.bundles.contents import Difference, FileChange, compare, files_of, find_change, list_files
from updates.filediff import TextDifference, compare_texts
from updates.models import BundleRelease
from updates.reach import reach_of_publication, reach_of_schedule, reach_of_withdrawal
from updates.selectors import find_replaced, list_current

State = BundleRelease.State


@dataclass(frozen=True, slots=True)
class ShownChange:
    """A file in the difference to another release, with where its lines are compared."""

    change: FileChange
    url: str
    """Empty: there is no comparing it line by line."""


def context_of(release: BundleRelease, *, may_publish: bool) -> dict[str, Any]:
    """Return what the page of a release shows. At most ten queries, however many files, devices and releases."""
    files = files_of(release.manifest)
    replaced = find_replaced(release)
    difference = compare(files_of(replaced.manifest), files) if replaced and release.manifest else None
    return {
        "is_scheduled": release.is_scheduled,
        "state_shown": state_of(release),
        "planned": planned_for([release]),
        "may_publish": may_publish,
        "listing": list_files(files),
        "unreadable": files.unreadable,
        "has_manifest": bool(release.manifest),
        "rollout_shown": percent(release.rollout_basis_points),
        "replaced": replaced,
        "difference": difference,
        "difference_summary": summary(difference) if difference else "",
        "changes": [_shown(change, release, replaced) for change in difference.changes] if difference else [],
        "outlook": _outlook(release, replaced),
        "scope_url": scope_url(release),
        "adoption": adoption_box(release),
    }


def find_difference(release: BundleRelease, asked: Mapping[str, str]) -> dict[str, Any]:
    """Return what a release changes in the file `path`, compared with the release whose id is `to`.

    Opens both archives: outside any transaction.

    Raises:
        Http404: neither has such a file, or both have the same; there is no such release in the scope.
    """
    before = _named(release, canonical_uuid(asked.get("to", "")))
    old = files_of(before.manifest)
    change = find_change(old, files_of(release.manifest), asked.get("path", ""))
    if change is None:
        raise Http404
    try:
        with slow_place():
            text = compare_texts(before=before, after=release, change=change)
    except ApiError as error:
        text = TextDifference(refusal=refusal_text(error))
    return {"before": before, "change": change, "text": text}


def _named(release: BundleRelease, key: uuid.UUID | None) -> BundleRelease:
    found = (
        key and BundleRelease.objects.filter(pk=key, bundle_type=release.bundle_type, scope_id=release.scope_id).first()
    )
    if not found:
        raise Http404
    return found


def scope_url(release: BundleRelease) -> str:
    """Return where the page of a release's scope is."""
    try:
        return reverse("admin:updates_scope", args=[release.bundle_type, release.scope_id])
    except NoReverseMatch:
        return ""


def _outlook(release: BundleRelease, replaced: BundleRelease | None) -> Outlook:
    """Say what publishing would do, or of what is published, what it does."""
    if release.is_scheduled:
        (reach,) = reach_of_schedule([release])
        scope = (release.bundle_type, release.scope_id)
        return outlook_of_schedule(reach, publish_at=release.publish_at, current=list_current([scope]).get(scope))
    if release.state == State.PUBLISHED:
        (reach,) = reach_of_withdrawal([release])
        return outlook_of_offer(reach)
    rollout = release.rollout_basis_points
    (reach,) = reach_of_publication([release], rollout_basis_points=rollout)
    return outlook_of_publication(reach, rollout_basis_points=rollout, publish_at=None, replaced=replaced)


def _shown(change: FileChange, release: BundleRelease, replaced: BundleRelease | None) -> ShownChange:
    if replaced is None or not change.may_be_compared:
        return ShownChange(change, "")
    url = reverse("admin:updates_bundlerelease_difference", args=[release.pk])
    return ShownChange(change, f"{url}?{urlencode({'to': str(replaced.pk), 'path': change.path})}")


def summary(difference: Difference) -> str:
    """Say in a line what differs."""
    return _("%(added)s added, %(changed)s changed, %(removed)s removed, %(unchanged)s the same.") % {
        "added": difference.added,
        "changed": difference.changed,
        "removed": difference.removed,
        "unchanged": difference.unchanged,
    }
