"""The page between choosing releases and publishing, widening or withdrawing them: it says what will happen."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import reduce
from operator import or_
from typing import Any, ClassVar

from django import forms
from django.db.models import Q, QuerySet
from django.utils import timezone

from config.errors import ApiError
from updates.admin.common import PercentField, add_refusal, percent
from updates.models import BundleRelease
from updates.principals import Principal
from updates.selection import WHOLE_ROLLOUT
from updates.selectors import offered_by
from updates.services import publication
from updates.services.publication import Act, Terms

State = BundleRelease.State


def planned_for(releases: Sequence[BundleRelease]) -> datetime | None:
    """Return the time to come that all of these have, if there is one."""
    times = {release.publish_at for release in releases}
    time = times.pop() if len(times) == 1 else None
    return time if time is not None and time > timezone.now() else None


class ActForm(forms.Form):
    """Asks for the terms of an act, if it has any. Validating it performs the act, whose refusal is an error of it."""

    action: ClassVar[str]
    title: ClassVar[str]
    participle: ClassVar[str]
    states: ClassVar[Sequence[str]]
    expected: ClassVar[str]
    """In words, those that have one of these states."""
    takes_companions: ClassVar[bool]

    act: Act

    def __init__(
        self, *, releases: Sequence[BundleRelease], principal: Principal, data: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(data, initial=self.terms_of(releases))
        self.releases = releases
        self.principal = principal

    @staticmethod
    def terms_of(releases: Sequence[BundleRelease]) -> dict[str, Any]:
        """Return the terms that the page proposes."""
        return {}

    @property
    def share(self) -> str:
        """The percentage of the devices, for the sentence that says what will happen."""
        return "…" if "rollout_percent" in self.errors else self["rollout_percent"].value() or "…"

    @property
    def moment(self) -> datetime | None:
        """When devices are offered the releases, for the same sentence; None: from now on."""
        return self.cleaned_data.get("publish_at") if self.is_bound else planned_for(self.releases)

    def companions(self) -> QuerySet[BundleRelease]:
        """Return those that were published together with the chosen ones, and that the act changes as well."""
        keys = {release.cohort_key for release in self.releases} if self.takes_companions else set()
        return (
            BundleRelease.objects.filter(state=State.PUBLISHED, cohort_key__in=keys)
            .exclude(pk__in=[release.pk for release in self.releases])
            .select_related("chapter__course")
            .defer("manifest")
            .order_by("bundle_type", "scope_id")
        )

    def outlooks(self, releases: Sequence[BundleRelease]) -> list[str]:
        """Say of each release what devices have afterwards, where that isn't what the page says of all."""
        return ["" for _ in releases]

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        if self.errors:
            return
        try:
            self.act = self.perform()
        except ApiError as error:
            add_refusal(self, error)

    def perform(self) -> Act:
        raise NotImplementedError

    def done(self) -> str:
        """Say what was done; the names of the releases follow."""
        raise NotImplementedError


class PublishForm(ActForm):
    action = "publish"
    title = "Publish"
    participle = "published"
    states = (State.DRAFT, State.WITHDRAWN)
    expected = "a draft or withdrawn release"
    takes_companions = False

    rollout_percent = PercentField(
        label="Share of devices (%)", help_text="Drawn anew. Testers get it in any case; with 0, nobody else does."
    )
    publish_at = forms.DateTimeField(
        label="Offered from (UTC)",
        required=False,
        help_text="Empty: from now on.",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )

    @staticmethod
    def terms_of(releases: Sequence[BundleRelease]) -> dict[str, Any]:
        rollouts = {release.rollout_basis_points for release in releases}
        rollout = rollouts.pop() if len(rollouts) == 1 else None
        return {"rollout_percent": rollout, "publish_at": planned_for(releases)}

    def clean_publish_at(self) -> datetime | None:
        chosen: datetime | None = self.cleaned_data["publish_at"]
        if chosen is not None and chosen <= timezone.now():
            raise forms.ValidationError("This time is over. Leave it empty to publish from now on.")
        return chosen

    def perform(self) -> Act:
        """An emptied time replaces those that the releases have."""
        chosen = self.cleaned_data["publish_at"]
        if chosen is None and any(release.publish_at for release in self.releases):
            chosen = timezone.now()
        terms = Terms(rollout_basis_points=self.cleaned_data["rollout_percent"], publish_at=chosen)
        return publication.publish_releases(releases=self.releases, principal=self.principal, terms=terms)

    def done(self) -> str:
        at = self.cleaned_data["publish_at"]
        when = f"from {at:%Y-%m-%d %H:%M} UTC on" if at else "from now on"
        return f"Published, and offered to {percent(self.cleaned_data['rollout_percent'])} of devices {when}"


class WidenForm(ActForm):
    action = "widen"
    title = "Widen the rollout"
    participle = "widened"
    states = (State.PUBLISHED,)
    expected = "a published release"
    takes_companions = True

    rollout_percent = PercentField(
        label="Share of devices (%)", help_text="No less than now: devices that have it would lose it."
    )

    @staticmethod
    def terms_of(releases: Sequence[BundleRelease]) -> dict[str, Any]:
        return {"rollout_percent": max(release.rollout_basis_points for release in releases)}

    def perform(self) -> Act:
        rollout = self.cleaned_data["rollout_percent"]
        return publication.widen_rollout(releases=self.releases, principal=self.principal, rollout_basis_points=rollout)

    def done(self) -> str:
        return f"Offered to {percent(self.cleaned_data['rollout_percent'])} of devices now"


class WithdrawForm(ActForm):
    action = "withdraw"
    title = "Withdraw"
    participle = "withdrawn"
    states = (State.PUBLISHED,)
    expected = "a published release"
    takes_companions = True

    def perform(self) -> Act:
        return publication.withdraw_releases(
            releases=self.releases, principal=self.principal, together=self.takes_companions
        )

    def outlooks(self, releases: Sequence[BundleRelease]) -> list[str]:
        left = _offered_to_all_without(releases)
        return [_outlook(release, left.get((release.bundle_type, release.scope_id))) for release in releases]

    def done(self) -> str:
        return "Withdrew"


class WithdrawOnlyTheseForm(WithdrawForm):
    action = "withdraw_only_these"
    title = "Withdraw only these"
    takes_companions = False


def _offered_to_all_without(withdrawn: Sequence[BundleRelease]) -> dict[tuple[str, str], BundleRelease]:
    """Return what all devices are offered of each of these scopes when these releases are gone. One query."""
    scopes = (Q(bundle_type=release.bundle_type, scope_id=release.scope_id) for release in withdrawn)
    rows = (
        BundleRelease.objects.filter(
            reduce(or_, scopes), offered_by(None), state=State.PUBLISHED, rollout_basis_points=WHOLE_ROLLOUT
        )
        .exclude(pk__in=[release.pk for release in withdrawn])
        .defer("manifest")
        .order_by("bundle_type", "scope_id", "-published_at", "-pk")
        .distinct("bundle_type", "scope_id")
    )
    return {(release.bundle_type, release.scope_id): release for release in rows}


def _outlook(release: BundleRelease, left: BundleRelease | None) -> str:
    """Say what becomes of the devices that have a release; `left` is what all are offered without it."""
    if release.publish_at is not None and release.publish_at > timezone.now():
        return f"is not offered before {release.publish_at:%Y-%m-%d %H:%M} UTC, so no device has it."
    if left is None:
        return "has no other release that all devices are offered: those that have it keep it, others may get none."
    if release.published_at and left.published_at and left.published_at > release.published_at:
        return f"gave way to {left.version} already, which devices keep."
    return f"devices go back to {left.version}."
