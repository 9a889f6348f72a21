"""The page between choosing releases and publishing, widening or withdrawing them: it says what will happen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Final

from django import forms
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, pgettext
from django_stubs_ext import StrOrPromise
from unfold.widgets import INPUT_CLASSES, UnfoldAdminDecimalFieldWidget

from config.errors import ApiError
from updates.admin.common import PercentField, add_refusal, label, percent
from updates.admin.outlook import (
    Outlook,
    outlook_of_publication,
    outlook_of_schedule,
    outlook_of_widening,
    outlook_of_withdrawal,
    utc,
)
from updates.models import BundleRelease
from updates.principals import Principal
from updates.reach import reach_of_publication, reach_of_schedule, reach_of_widening, reach_of_withdrawal
from updates.selection import WHOLE_ROLLOUT
from updates.selectors import list_current
from updates.services import publication
from updates.services.publication import TIME_IS_OVER, Act, Terms

State = BundleRelease.State

_STEPS: Final = (100, 500, 1_000, 2_500, 5_000, WHOLE_ROLLOUT)
"""Shares in basis points to which a rollout is widened, one after the other."""


def planned_for(releases: Sequence[BundleRelease]) -> datetime | None:
    """Return the time to come that all of these drafts have, if there is one.

    That of a withdrawn release was for when it was published before.
    """
    times = {release.publish_at if release.state == State.DRAFT else None for release in releases}
    time = times.pop() if len(times) == 1 else None
    return time if time is not None and time > timezone.now() else None


def common_time(releases: Sequence[BundleRelease]) -> datetime | None:
    """Return the time that all of these scheduled releases have, if they have the same."""
    times = {release.publish_at for release in releases}
    return times.pop() if len(times) == 1 else None


class MomentField(forms.DateTimeField):
    """A time to come, in UTC."""

    def __init__(self, **kwargs: Any) -> None:
        widget = forms.DateTimeInput(
            attrs={"type": "datetime-local", "class": " ".join(INPUT_CLASSES)}, format="%Y-%m-%dT%H:%M"
        )
        super().__init__(widget=widget, **kwargs)

    def clean(self, value: Any) -> datetime:
        chosen: datetime = super().clean(value)
        if chosen <= timezone.now():
            raise forms.ValidationError(TIME_IS_OVER)
        return chosen


@dataclass(frozen=True, slots=True)
class Affected:
    """A release that an act changes, and what that does to devices."""

    release: BundleRelease
    outlook: Outlook
    note: str = ""
    """What else to know of it."""

    @property
    def name(self) -> str:
        return label(self.release)


class ActForm(forms.Form):
    """Asks for the terms of an act, if it has any. Validating it performs the act, whose refusal is an error of it."""

    action: ClassVar[str]
    title: ClassVar[Any]
    button_variant: ClassVar[str] = "primary"
    together: ClassVar[Any] = ""
    """The heading above the releases that the act changes as well."""
    states: ClassVar[Sequence[str]]
    is_scheduled: ClassVar[bool] = False
    """It asks from when on devices are offered the releases; else that is from now on."""
    is_about_time: ClassVar[bool] = False
    """It changes the time of scheduled releases, and is decided on the time that they have."""
    refusal: ClassVar[StrOrPromise]
    """The sentence for a `{release}` that has none of these states."""
    takes_companions: ClassVar[bool]

    act: Act

    def __init__(
        self, *, releases: Sequence[BundleRelease], principal: Principal, data: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(data, initial=self.terms_of(releases))
        self.releases = releases
        self.principal = principal

    @classmethod
    def may_have(cls, release: BundleRelease) -> bool:
        """Say whether the act can be done to a release of one of these states, as it is now."""
        return True

    @staticmethod
    def terms_of(releases: Sequence[BundleRelease]) -> dict[str, Any]:
        """Return the terms that the page proposes."""
        return {}

    @property
    def share(self) -> str:
        """The percentage of the devices, for the sentence that says what will happen."""
        return "…" if "rollout_percent" in self.errors else self["rollout_percent"].value() or "…"

    def summary(self, total: int) -> str:
        """Say what will happen to so many releases, where the terms don't say it; empty: each one's outlook does."""
        return ""

    @property
    def moment(self) -> datetime | None:
        """When devices are offered the releases, for the same sentence; None: from now on, or not chosen yet."""
        chosen: datetime | None = (self.cleaned_data if self.is_bound else self.initial).get("publish_at")
        return chosen

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

    @property
    def rollout(self) -> int:
        """The share for which the page says how many devices that is, in basis points."""
        chosen = self.cleaned_data.get("rollout_percent") if self.is_bound else self.initial.get("rollout_percent")
        return WHOLE_ROLLOUT if chosen is None else int(chosen)

    def affected(self, releases: Sequence[BundleRelease]) -> list[Affected]:
        """Say of each release what the act does to devices."""
        raise NotImplementedError

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
    title = gettext_lazy("Publish")
    states = (State.DRAFT, State.WITHDRAWN)
    refusal = gettext_lazy(
        "The release {release} can't be published: only a draft or withdrawn release can. Look at it again."
    )
    takes_companions = False

    rollout_percent = PercentField(
        label=gettext_lazy("Share of devices (%)"),
        help_text=gettext_lazy(
            "The devices are picked by chance, anew each time it is published. Testers get it in any case; "
            "at 0 % nobody else does."
        ),
        widget=UnfoldAdminDecimalFieldWidget,
    )

    @staticmethod
    def terms_of(releases: Sequence[BundleRelease]) -> dict[str, Any]:
        rollouts = {release.rollout_basis_points for release in releases}
        rollout = rollouts.pop() if len(rollouts) == 1 else None
        return {"rollout_percent": rollout}

    def affected(self, releases: Sequence[BundleRelease]) -> list[Affected]:
        current = list_current((release.bundle_type, release.scope_id) for release in releases)
        return [
            Affected(
                reach.release,
                outlook_of_publication(
                    reach,
                    rollout_basis_points=self.rollout,
                    publish_at=self.moment,
                    awaits_time=self.is_scheduled and self.moment is None,
                    replaced=current.get((reach.release.bundle_type, reach.release.scope_id)),
                ),
            )
            for reach in reach_of_publication(releases, rollout_basis_points=self.rollout)
        ]

    def perform(self) -> Act:
        """Publish from now on, which replaces the times that the releases have."""
        now = timezone.now() if any(release.publish_at for release in self.releases) else None
        return self._publish(now)

    def _publish(self, publish_at: datetime | None) -> Act:
        terms = Terms(rollout_basis_points=self.cleaned_data["rollout_percent"], publish_at=publish_at)
        return publication.publish_releases(releases=self.releases, principal=self.principal, terms=terms)

    def done(self) -> str:
        share = percent(self.cleaned_data["rollout_percent"])
        return _("Published, and offered to %(share)s of devices from now on") % {"share": share}


class ScheduleForm(PublishForm):
    """Publishes for a time to come: the releases are published at once, and devices are offered them from then on."""

    action = "schedule"
    title = gettext_lazy("Schedule")
    is_scheduled = True
    refusal = gettext_lazy(
        "The release {release} can't be scheduled: only a draft or withdrawn release can. Look at it again."
    )

    publish_at = MomentField(
        label=gettext_lazy("Offered from (UTC)"),
        help_text=gettext_lazy("A time to come. No device is offered it before."),
    )

    @staticmethod
    def terms_of(releases: Sequence[BundleRelease]) -> dict[str, Any]:
        return {**PublishForm.terms_of(releases), "publish_at": planned_for(releases)}

    def perform(self) -> Act:
        return self._publish(self.cleaned_data["publish_at"])

    def done(self) -> str:
        return _("Scheduled: offered to %(share)s of devices from %(time)s on") % {
            "share": percent(self.cleaned_data["rollout_percent"]),
            "time": utc(self.cleaned_data["publish_at"]),
        }


class RescheduleForm(ActForm):
    """Moves the time of scheduled releases; they stay what they are."""

    action = "reschedule"
    title = gettext_lazy("Change the time")
    together = gettext_lazy("Published with it, and moved together")
    states = (State.PUBLISHED,)
    is_scheduled = True
    is_about_time = True
    refusal = gettext_lazy(
        "The time of {release} can't be changed: only a scheduled release has one. Look at it again."
    )
    takes_companions = True

    publish_at = MomentField(
        label=gettext_lazy("Offered from (UTC)"),
        help_text=gettext_lazy("A time to come. To offer it at once, choose Publish now."),
    )

    @staticmethod
    def terms_of(releases: Sequence[BundleRelease]) -> dict[str, Any]:
        return {"publish_at": common_time(releases)}

    @classmethod
    def may_have(cls, release: BundleRelease) -> bool:
        return release.is_scheduled

    def affected(self, releases: Sequence[BundleRelease]) -> list[Affected]:
        return _affected_by_time(releases, self.moment)

    def perform(self) -> Act:
        return publication.reschedule_releases(
            releases=self.releases, principal=self.principal, publish_at=self.cleaned_data["publish_at"]
        )

    def done(self) -> str:
        return _("Offered from %(time)s on") % {"time": utc(self.cleaned_data["publish_at"])}


class PublishNowForm(ActForm):
    """Lets the time of scheduled releases come now; they stay what they are."""

    action = "publish_now"
    title = gettext_lazy("Publish now")
    together = gettext_lazy("Published with it, and offered together")
    states = (State.PUBLISHED,)
    is_about_time = True
    refusal = gettext_lazy(
        "The release {release} can't be published now: only a scheduled release can. Look at it again."
    )
    takes_companions = True

    @classmethod
    def may_have(cls, release: BundleRelease) -> bool:
        return release.is_scheduled

    def summary(self, total: int) -> str:
        text = ngettext(
            "%(total)s release will be offered from now on, whatever time it was scheduled for.",
            "%(total)s releases will be offered from now on, whatever time they were scheduled for.",
            total,
        )
        return text % {"total": total}

    def affected(self, releases: Sequence[BundleRelease]) -> list[Affected]:
        return _affected_by_time(releases, timezone.now())

    def perform(self) -> Act:
        return publication.reschedule_releases(releases=self.releases, principal=self.principal, publish_at=None)

    def done(self) -> str:
        return _("Published, and offered from now on")


class WidenForm(ActForm):
    action = "widen"
    title = gettext_lazy("Widen the rollout")
    together = gettext_lazy("Published with it, and widened together")
    states = (State.PUBLISHED,)
    refusal = gettext_lazy("The release {release} can't be widened: only a published release can. Look at it again.")
    takes_companions = True

    rollout_percent = PercentField(
        label=gettext_lazy("Share of devices (%)"),
        help_text=gettext_lazy("More than now: devices that have it would lose it at less."),
        widget=UnfoldAdminDecimalFieldWidget,
    )

    @staticmethod
    def terms_of(releases: Sequence[BundleRelease]) -> dict[str, Any]:
        widest = max(release.rollout_basis_points for release in releases)
        return {"rollout_percent": next(step for step in _STEPS if step > widest or step == WHOLE_ROLLOUT)}

    def clean_rollout_percent(self) -> int:
        """Refuse a share that changes nothing; the service refuses a smaller one, and the audit keeps that."""
        chosen: int = self.cleaned_data["rollout_percent"]
        if all(release.rollout_basis_points == chosen for release in self.releases):
            text = _("It is %(share)s already: give a larger share.")
            raise forms.ValidationError(text % {"share": percent(chosen)})
        return chosen

    def affected(self, releases: Sequence[BundleRelease]) -> list[Affected]:
        reaches = reach_of_widening(releases, rollout_basis_points=self.rollout)
        return [
            Affected(reach.release, outlook_of_widening(reach, rollout_basis_points=self.rollout)) for reach in reaches
        ]

    def perform(self) -> Act:
        rollout = self.cleaned_data["rollout_percent"]
        return publication.widen_rollout(releases=self.releases, principal=self.principal, rollout_basis_points=rollout)

    def done(self) -> str:
        return _("Offered to %(share)s of devices now") % {"share": percent(self.cleaned_data["rollout_percent"])}


class WithdrawForm(ActForm):
    action = "withdraw"
    title = gettext_lazy("Withdraw")
    button_variant = "danger"
    together = gettext_lazy("Published with it, and withdrawn together")
    states = (State.PUBLISHED,)
    refusal = gettext_lazy("The release {release} can't be withdrawn: only a published release can. Look at it again.")
    takes_companions = True

    def perform(self) -> Act:
        return publication.withdraw_releases(
            releases=self.releases, principal=self.principal, together=self.takes_companions
        )

    def summary(self, total: int) -> str:
        """The consequence of a single one is its outlook."""
        return _("%(total)s releases will be taken back.") % {"total": total} if total > 1 else ""

    def affected(self, releases: Sequence[BundleRelease]) -> list[Affected]:
        return [Affected(reach.release, outlook_of_withdrawal(reach)) for reach in reach_of_withdrawal(releases)]

    def done(self) -> str:
        return pgettext("what was done", "Withdrawn")


class WithdrawOnlyTheseForm(WithdrawForm):
    action = "withdraw_only_these"
    title = gettext_lazy("Withdraw only these")
    takes_companions = False


def _affected_by_time(releases: Sequence[BundleRelease], publish_at: datetime | None) -> list[Affected]:
    """Say what another time does; None: it isn't chosen yet."""
    current = list_current((release.bundle_type, release.scope_id) for release in releases)
    return [
        Affected(
            reach.release,
            outlook_of_schedule(
                reach,
                publish_at=publish_at,
                current=current.get((reach.release.bundle_type, reach.release.scope_id)),
            ),
            _now_planned(reach.release),
        )
        for reach in reach_of_schedule(releases)
    ]


def _now_planned(release: BundleRelease) -> str:
    return _("the time so far is %(time)s.") % {"time": utc(release.publish_at)} if release.publish_at else ""
