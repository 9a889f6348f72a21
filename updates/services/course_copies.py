"""A course for a new semester: its chapters, and what all devices are offered of them now.

The bytes aren't copied: the new releases name those of the old ones, wherever these lie. They were published, so
they stay there and never change, and whoever may read a release may read what it names.
"""

import json
from dataclasses import dataclass
from typing import Final

from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from config.errors import ApiError, ErrorCode
from courses import services as courses
from courses.models import Chapter, Course
from courses.services import Semester
from updates import audit
from updates.audit import Action, Entry
from updates.models import Ability, BundleRelease, chapter_scope_id
from updates.principals import Principal
from updates.selection import WHOLE_ROLLOUT
from updates.selectors import CoursePlan, plan_course_copy
from updates.services.drafts import OPTION_NAMES
from updates.services.publication import Act, Terms, check_bytes_present, one_act_at_a_time, publish_in_act

_KEPT: Final = (
    "bundle_type",
    "version",
    "artifact_key",
    "external_url",
    "sha256",
    "size_bytes",
    "manifest",
    "required_experts",
    "is_mandatory",
    "min_desktop_version",
    "min_sidecar_version",
    "strict_versions",
    "verified_at",
)
"""What a copied release has of its original; the rest is of its own publication."""


@dataclass(frozen=True, slots=True)
class CourseCopy:
    """The new course, and the act in which its releases were published."""

    course: Course
    act: Act


def copy_course(*, plan: CoursePlan, semester: Semester, principal: Principal) -> CourseCopy:
    """Make the planned course and publish its releases to all devices, in one act: the whole or nothing.

    Enrolments and progress stay with the old course.

    Raises:
        ApiError: FORBIDDEN; VALIDATION_ERROR with each field of the semester, also when somebody took the course code
            at the same moment; BUNDLE_RELEASE_CONFLICT when the course isn't as planned any more, or one of its
            releases could not be published today; STORAGE_UNAVAILABLE.
    """
    _require_right(principal)
    for release in plan.releases:
        check_bytes_present(release)
    with one_act_at_a_time():
        if plan_course_copy(source=plan.source).fingerprint != plan.fingerprint:
            raise ApiError(
                ErrorCode.BUNDLE_RELEASE_CONFLICT,
                _("The course changed since you looked at it. Nothing was copied. Look at it again."),
            )
        chapters = [planned.chapter for planned in plan.chapters]
        course, copies = courses.copy_course(source=plan.source, chapters=chapters, semester=semester)
        drafts = [
            _draft_like(planned.release, copy, principal)
            for planned, copy in zip(plan.chapters, copies, strict=True)
            if planned.release
        ]
        act = _publish(drafts, principal) if drafts else Act([], [])
        _log(course, plan.source, principal)
    return CourseCopy(course, act)


def _require_right(principal: Principal) -> None:
    principal.require(Ability.PUBLISH)
    if principal.user is not None and not principal.user.has_perm("courses.add_course"):
        raise ApiError(ErrorCode.FORBIDDEN, _("%(name)s may not make courses.") % {"name": principal.name})


def _draft_like(release: BundleRelease, chapter: Chapter, principal: Principal) -> BundleRelease:
    return BundleRelease(
        **{name: getattr(release, name) for name in _KEPT},
        scope_id=chapter_scope_id(chapter.course_id, chapter.chapter_code),
        chapter=chapter,
        rollout_basis_points=WHOLE_ROLLOUT,
        created_by=principal.user,
    )


def _publish(drafts: list[BundleRelease], principal: Principal) -> Act:
    """Insert and publish; nobody sees them as drafts in between."""
    principal.require(Ability.PUBLISH, drafts)
    BundleRelease.objects.bulk_create(drafts)
    entries = [
        Entry(draft, {name: (None, getattr(draft, name)) for name in ("sha256", "size_bytes", *OPTION_NAMES)})
        for draft in drafts
    ]
    audit.record(Action.CREATED, entries, principal)
    # In the old course each chapter went its own way: withdrawing one later must not take the course's others along.
    return publish_in_act(drafts, principal, Terms(), as_one=False)


def _log(course: Course, source: Course, principal: Principal) -> None:
    if principal.user is None:
        return
    LogEntry.objects.create(
        user_id=principal.user.pk,
        content_type=ContentType.objects.get_for_model(course),
        object_id=str(course.pk),
        object_repr=str(course)[:200],
        action_flag=ADDITION,
        # In the form that Django puts into the reader's language: "Added …".
        change_message=json.dumps(
            [{"added": {"name": gettext_noop("as a copy of the course"), "object": source.course_code}}]
        ),
    )
