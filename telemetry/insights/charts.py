"""The pictures of a course's page, each with its numbers as a table."""

from collections.abc import Sequence
from datetime import date, timedelta

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from config import limits
from config.charts import Chart, Series
from config.terminal import printable
from telemetry.insights.courses import ChapterReached, Days, EventTypes, Weeks
from telemetry.models import LearnerDay


def duration_text(seconds: float | None) -> str:
    """Say how long something takes, by its two largest units; nothing for None."""
    if seconds is None:
        return ""
    if seconds < 60:
        return _("less than a minute")
    now = timezone.now()
    return timesince(now - timedelta(seconds=seconds), now, depth=2)


def days_chart(activity: Days) -> Chart:
    return Chart(
        title=_("Learners by day (UTC)"),
        labels=_labels(activity.days),
        label_heading=_("Day"),
        series=[Series(_("Enrolled"), activity.enrolled), Series(pgettext("learners", "With events"), activity.active)],
        empty=_("Nobody is enrolled yet. Who joins is counted here from that day on."),
    )


def weeks_chart(activity: Weeks) -> Chart:
    return Chart(
        title=_("Learners by week (UTC)"),
        labels=_labels(activity.mondays),
        label_heading=_("Week from"),
        series=[Series(_("Enrolled"), activity.enrolled), Series(pgettext("learners", "With events"), activity.active)],
        kind="bar",
        empty=_("Nobody is enrolled yet. Who joins is counted here from that week on."),
    )


def funnel_chart(chapters: Sequence[ChapterReached], learners: int) -> Chart:
    """How many of the learners have completed each chapter, are in it, or have not started it."""
    return Chart(
        title=_("How far learners got in each chapter"),
        labels=[chapter.name for chapter in chapters],
        label_heading=_("Chapter"),
        series=[
            Series(_("Completed"), [chapter.completed for chapter in chapters]),
            Series(_("In progress"), [chapter.in_progress for chapter in chapters]),
            Series(_("Not started"), [not_started(chapter, learners) for chapter in chapters], is_rest=True),
        ],
        kind="hstacked",
        empty=_("Nobody is enrolled yet. As soon as learners begin chapters, you see here how far they get."),
    )


def not_started(chapter: ChapterReached, learners: int) -> int:
    return max(0, learners - chapter.in_progress - chapter.completed)


def stops_chart(chapters: Sequence[ChapterReached]) -> Chart:
    stopping = [chapter for chapter in chapters if chapter.stopped_in or chapter.stopped_after]
    return Chart(
        title=_("Where learners stop"),
        labels=[chapter.name for chapter in stopping],
        label_heading=_("Chapter"),
        series=[
            Series(_("In the chapter"), [chapter.stopped_in for chapter in stopping]),
            Series(_("After completing it"), [chapter.stopped_after for chapter in stopping]),
        ],
        kind="hstacked",
        empty=_("Nobody has stopped. Learners who begin, and are then away for %(days)s days, are counted here.")
        % {"days": limits.INSIGHTS_STOPPED_AFTER_DAYS},
    )


def types_chart(types: EventTypes, activity: Days) -> Chart:
    """The types that lead, and the rest of each day's events."""
    series = [Series(printable(event_type), events) for event_type, events in types.events.items()]
    leading = [sum(day) for day in zip(*types.events.values(), strict=True)] or [0] * len(activity.days)
    others = [max(0, events - shown) for events, shown in zip(activity.events, leading, strict=True)]
    if any(others):
        series.append(Series(_("Other types"), others, is_rest=True))
    return Chart(
        title=_("Events by type (UTC)"),
        labels=_labels(activity.days),
        label_heading=_("Day"),
        series=series,
        kind="stacked",
        empty=_("No event came in these days. What the desktop app reports of this course is counted here."),
    )


def learner_chart(days: Sequence[date], rows: Sequence[LearnerDay]) -> Chart:
    """A learner's events in a course on each of these days."""
    events = {row.day: row.events for row in rows}
    return Chart(
        title=_("Events by day (UTC)"),
        labels=_labels(days),
        label_heading=_("Day"),
        series=[Series(_("Events"), [events.get(day, 0) for day in days])],
        kind="bar",
        empty=_("No event of this learner came in these days."),
    )


def _labels(days: Sequence[date]) -> list[str]:
    """Name days shortly; with their year where they are of two."""
    one_year = days[0].year == days[-1].year
    return [date_format(day, "MONTH_DAY_FORMAT" if one_year else "Y-m-d") for day in days]
