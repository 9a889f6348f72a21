"""What an act on a release would do, in sentences for the person who decides on it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from django.utils import timezone
from django.utils.formats import number_format
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from config import limits
from config.errors import joined
from updates.admin.common import percent
from updates.models import BundleRelease
from updates.reach import Audience, Fallback, Reach
from updates.selection import WHOLE_ROLLOUT, parse_version

_EXACT_BELOW: Final = 100
"""Expected numbers below this are given to the unit, larger ones with two digits."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What an act does to the devices that ask for one release."""

    consequence: str
    """The sentence that matters."""
    details: Sequence[str] = ()
    typed: "Typed | None" = None
    """How the sentence follows the terms that are typed; None: not at all."""


@dataclass(frozen=True, slots=True)
class Typed:
    """What a page needs to keep the sentence true while a share and a time are typed."""

    now: str
    """The sentence with `{amount}` in it."""
    later: str
    """The sentence for a time to come, with `{amount}` and `{time}`."""
    devices_at_none: float
    """Devices that are offered it at a share of 0 %."""
    devices_at_all: float
    """And at 100 %."""
    share: float
    """The share in percent for which the sentence is, where none is typed."""
    is_estimate: bool


def amount(devices: float, *, is_exact: bool) -> str:
    """Show a number of devices. What is expected or estimated is rounded and said to be "about" so many."""
    if is_exact:
        return number_format(round(devices), force_grouping=True)
    return _("about %(number)s") % {"number": number_format(rounded(devices), force_grouping=True)}


def rounded(devices: float) -> int:
    whole = round(devices)
    if whole < _EXACT_BELOW:
        return whole
    unit: int = 10 ** (len(str(whole)) - 2)
    return round(whole / unit) * unit


def utc(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


# --- The acts ---------------------------------------------------------------------------------------------------


def outlook_of_publication(
    reach: Reach,
    *,
    rollout_basis_points: int,
    publish_at: datetime | None,
    replaced: BundleRelease | None,
    awaits_time: bool = False,
) -> Outlook:
    """Say what publishing a release would do.

    Args:
        replaced: what all devices are offered of its scope now.
        awaits_time: it is for a time to come that isn't chosen yet.
    """
    if nobody := _nobody_will(reach):
        return Outlook(nobody, [*_replaces(reach.release, replaced)])
    typed = _typed(reach)
    if awaits_time:
        typed = replace(typed, now=typed.later.replace("{time}", "…"))
    return Outlook(
        _will_be_offered(reach, typed, rollout_basis_points, publish_at),
        [
            *_replaces(reach.release, replaced),
            *_too_old(reach, replaced),
            _who_is_counted(reach),
        ],
        typed,
    )


def outlook_of_schedule(reach: Reach, *, publish_at: datetime | None, current: BundleRelease | None) -> Outlook:
    """Say what happens when the time of a scheduled release comes.

    Args:
        publish_at: None: it isn't chosen yet.
        current: what all devices are offered of its scope now.
    """
    release = reach.release
    if current is not None and _is_later(current, release):
        told = [_("%(version)s was published after it, and stays what devices get.") % {"version": current.version}]
    else:
        told = _replaces(release, current)
    if nobody := _nobody_will(reach):
        return Outlook(nobody, told)
    typed = _typed(reach)
    if publish_at is None:
        typed = replace(typed, now=typed.later.replace("{time}", "…"))
    return Outlook(
        _will_be_offered(reach, typed, release.rollout_basis_points, publish_at),
        [*told, *_too_old(reach, current), _who_is_counted(reach)],
        typed,
    )


def outlook_of_widening(reach: Reach, *, rollout_basis_points: int) -> Outlook:
    """Say what widening the rollout of a release would do."""
    if nobody := _nobody_will(reach):
        return Outlook(nobody)
    before = reach.offered_before().get(reach.release.version, 0)
    typed = _typed(reach)
    planned = reach.release.publish_at
    if planned is not None and planned > timezone.now():
        typed = replace(typed, now=typed.later.replace("{time}", utc(planned)))
    return Outlook(
        _will_be_offered(reach, typed, rollout_basis_points, planned),
        [
            _("It is %(amount)s now.") % {"amount": amount(before, is_exact=False)},
            *_too_old(reach, None),
            _who_is_counted(reach),
        ],
        typed,
    )


def outlook_of_offer(reach: Reach) -> Outlook:
    """Say how many devices are offered a published release now."""
    if why := _why_nobody(reach):
        return Outlook(_("No device is offered it now: %(why)s.") % {"why": why})
    offered = reach.offered_before().get(reach.release.version, 0)
    is_exact = not reach.is_estimate and reach.release.rollout_basis_points == WHOLE_ROLLOUT
    return Outlook(
        capfirst(
            ngettext(
                "%(amount)s of %(total)s device is offered it now.",
                "%(amount)s of %(total)s devices are offered it now.",
                round(reach.devices),
            )
            % {
                "amount": amount(offered, is_exact=is_exact),
                "total": amount(reach.devices, is_exact=not reach.is_estimate),
            }
        ),
        [_who_is_counted(reach)],
    )


def outlook_of_withdrawal(reach: Reach) -> Outlook:
    """Say what becomes of the devices that have a release which is withdrawn."""
    release = reach.release
    if release.is_scheduled and release.publish_at is not None:
        text = _("It will not be offered at %(time)s; nothing changes for devices.")
        return Outlook(text % {"time": utc(release.publish_at)})
    if why := _why_closed(reach):
        return Outlook(_("Nothing changes for devices: %(why)s.") % {"why": why})
    fallback = reach.fallback()
    if fallback.superseded_by:
        text = _("Nothing changes for devices: they are offered %(version)s, which was published after it.")
        return Outlook(text % {"version": fallback.superseded_by})
    offer = outlook_of_offer(reach)
    return Outlook(_what_is_left(release, fallback), [offer.consequence, *offer.details])


# --- Sentences --------------------------------------------------------------------------------------------------


def _will_be_offered(reach: Reach, typed: Typed, rollout_basis_points: int, publish_at: datetime | None) -> str:
    offered = reach.offered_after(rollout_basis_points).get(reach.release.version, 0)
    is_exact = not reach.is_estimate and rollout_basis_points in (0, WHOLE_ROLLOUT)
    is_later = publish_at is not None and publish_at > timezone.now()
    sentence = typed.later.replace("{time}", utc(publish_at)) if publish_at and is_later else typed.now
    return capfirst(sentence.replace("{amount}", amount(offered, is_exact=is_exact)))


def _typed(reach: Reach) -> Typed:
    values = {"amount": "{amount}", "total": amount(reach.devices, is_exact=not reach.is_estimate), "time": "{time}"}
    count = round(reach.devices)
    now = ngettext(
        "%(amount)s of %(total)s device will be offered it now.",
        "%(amount)s of %(total)s devices will be offered it now.",
        count,
    )
    later = ngettext(
        "%(amount)s of %(total)s device will be offered it from %(time)s on.",
        "%(amount)s of %(total)s devices will be offered it from %(time)s on.",
        count,
    )
    at_none, at_all = (reach.offered_after(share).get(reach.release.version, 0) for share in (0, WHOLE_ROLLOUT))
    share = reach.release.rollout_basis_points / 100
    return Typed(now % values, later % values, at_none, at_all, share, reach.is_estimate)


def _is_later(one: BundleRelease, other: BundleRelease) -> bool:
    return bool(one.published_at and other.published_at and one.published_at > other.published_at)


def _what_is_left(release: BundleRelease, fallback: Fallback) -> str:
    """Say what devices that have a release are offered without it."""
    if not fallback.versions:
        return _("Devices that have it keep it, and others are offered none: there is no other release.")
    versions = joined(fallback.versions, _(" or "))
    if not fallback.is_for_all:
        text = _(
            "Devices that have it go back to %(versions)s if they are in its rollout, and else keep it: no other "
            "release is for all devices."
        )
        return text % {"versions": versions}
    if release.rollout_basis_points < WHOLE_ROLLOUT:
        text = _(
            "Devices in its rollout (%(share)s) go back to %(versions)s at their next check; nothing changes for the "
            "others."
        )
        return text % {"share": percent(release.rollout_basis_points), "versions": versions}
    return _("Devices that have it go back to %(versions)s at their next check.") % {"versions": versions}


def _nobody_will(reach: Reach) -> str:
    """Say that no device would be offered a release, and why; empty: some would."""
    if why := _why_closed(reach):
        return _("No device will be offered it: %(why)s.") % {"why": why}
    if why := _why_nobody(reach):
        return _("No device will be offered it yet: %(why)s.") % {"why": why}
    return ""


def _why_closed(reach: Reach) -> str:
    """Return why no device may ask for a release, whichever learn; empty: they may."""
    match reach.audience:
        case Audience.NOBODY_CLOSED:
            return _("its chapter or course is switched off")
        case Audience.NOBODY_NEEDS_IT:
            return _("no chapter that learners have needs this expert")
    return ""


def _why_nobody(reach: Reach) -> str:
    """Return why no device asks for a release; empty: some do."""
    return _why_closed(reach) or ("" if reach.devices else _nobody_was_active(reach))


def _nobody_was_active(reach: Reach) -> str:
    days = {"days": limits.ACTIVE_DEVICE_DAYS}
    match reach.audience:
        case Audience.COURSE:
            return _("no learner of the course was active in the last %(days)s days") % days
        case Audience.COURSES_OF_EXPERT:
            return _("no learner of a course that needs this expert was active in the last %(days)s days") % days
    return _("no device was active in the last %(days)s days") % days


def _who_is_counted(reach: Reach) -> str:
    days = {"days": limits.ACTIVE_DEVICE_DAYS}
    match reach.audience:
        case Audience.COURSE:
            return _("Counted are the devices of the course's learners, if active in the last %(days)s days.") % days
        case Audience.COURSES_OF_EXPERT:
            return (
                _("Counted are the devices of learners whose courses need it, if active in the last %(days)s days.")
                % days
            )
    return _("Counted are all devices that were active in the last %(days)s days.") % days


def _replaces(release: BundleRelease, replaced: BundleRelease | None) -> list[str]:
    if replaced is None:
        return [_("Nothing is replaced: all devices are offered no release of this yet.")]
    ours, theirs = parse_version(release.version), parse_version(replaced.version)
    if ours and theirs and ours < theirs:
        return [_("It replaces the newer %(version)s: this is a roll-back.") % {"version": replaced.version}]
    return [_("It replaces %(version)s.") % {"version": replaced.version}]


def _too_old(reach: Reach, replaced: BundleRelease | None) -> list[str]:
    """Say what becomes of the devices that are too old for a release."""
    if not reach.too_old:
        return []
    values = {"amount": amount(reach.too_old, is_exact=not reach.is_estimate)}
    count = round(reach.too_old)
    if replaced is None:
        sentence = ngettext(
            "%(amount)s device has an app that is too old for it, and keeps what it has.",
            "%(amount)s devices have an app that is too old for it, and keep what they have.",
            count,
        )
    else:
        values["version"] = replaced.version
        sentence = ngettext(
            "%(amount)s device has an app that is too old for it, and keeps %(version)s.",
            "%(amount)s devices have an app that is too old for it, and keep %(version)s.",
            count,
        )
    return [capfirst(sentence % values)]
