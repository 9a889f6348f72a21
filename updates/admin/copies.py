"""A course's button "Copy to a new semester": the form, what the copy will have, and the copying."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.html import escape
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminTextInputWidget

from config.admin_pages import Cell, Panel, action, admin_url, ask
from config.errors import ApiError
from courses.admin import CourseAdmin
from courses.models import Course
from courses.services import Semester
from updates.admin.common import acting, add_refusal, listed
from updates.models import Ability, BundleRelease
from updates.selectors import CoursePlan, missing_experts, plan_course_copy
from updates.services.course_copies import copy_course


class SemesterForm(forms.ModelForm[Course]):
    """What the copy has of its own. Its constraints tell a code that is taken before anything is done."""

    plan = forms.CharField(widget=forms.HiddenInput, required=False)

    class Meta:
        model = Course
        fields = ("course_code", "title", "semester", "instructor")
        widgets = {name: UnfoldAdminTextInputWidget() for name in fields}

    def __init__(self, data: Any, *, plan: CoursePlan) -> None:
        source = plan.source
        initial = {"title": source.title, "instructor": source.instructor, "plan": plan.fingerprint}
        super().__init__(data, initial=initial)
        self._fingerprint = plan.fingerprint
        # The forms show their help as HTML.
        self.fields["course_code"].help_text = _("Another one than %(code)s.") % {"code": escape(source.course_code)}
        self.fields["semester"].help_text = _("Until now: %(semester)s.") % {"semester": escape(source.semester or "-")}

    def clean(self) -> dict[str, Any]:
        """Refuse to copy what the person has not seen."""
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("plan") != self._fingerprint:
            self.data = {**self.data.dict(), "plan": self._fingerprint}  # type: ignore[attr-defined]
            raise forms.ValidationError(_("The course changed since you looked at it. See below what it has now."))
        return cleaned

    @property
    def semester(self) -> Semester:
        return Semester(**{name: self.cleaned_data[name] for name in self._meta.fields or ()})


class CopyableCourseAdmin(CourseAdmin):
    """The courses' page, with what only this room can do."""

    actions_detail = (*CourseAdmin.actions_detail, "copy")

    def has_copy_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return bool(self.has_add_permission(request) and acting(request).may(Ability.PUBLISH))

    @action(
        description=gettext_lazy("Copy to a new semester"),
        permissions=["copy"],
        icon="content_copy",
        variant=ActionVariant.PRIMARY,
    )
    def copy(self, request: HttpRequest, object_id: str) -> HttpResponse:
        source = self.get_object(request, object_id)
        if source is None:
            raise PermissionDenied
        plan = plan_course_copy(source=source)
        form = SemesterForm(request.POST if request.method == "POST" else None, plan=plan)
        if form.is_valid():
            try:
                made = copy_course(plan=plan, semester=form.semester, principal=acting(request)).course
            except ApiError as error:
                add_refusal(form, error)
            else:
                done = _("%(source)s was copied. Learners join the new course by the invite code %(code)s.")
                text = done % {"source": source.course_code, "code": made.invite_code}
                self.message_user(request, text, messages.SUCCESS)
                return HttpResponseRedirect(admin_url(Course, "change", made.pk))
        return ask(
            self,
            request,
            title=_("Copy %(course)s to a new semester") % {"course": source.course_code},
            consequences=_consequences(plan),
            form=form,
            panels=[_preview(plan)],
            submit_text=_("Copy the course"),
            obj=source,
            cancel_url=admin_url(Course, "change", source.pk),
        )


def _consequences(plan: CoursePlan) -> list[str]:
    releases = plan.releases
    told = [
        _what_is_made(chapters=len(plan.chapters), releases=len(releases)),
        _(
            "Not copied: learners, the instructors' right to see how they fare, progress, drafts, scheduled releases, "
            "and rollouts that don't reach all devices yet."
        ),
    ]
    missing = missing_experts(releases, offered_from=None)
    if missing:
        text = _("It can't be copied now: these experts are needed and have no published release: %(experts)s.")
        told.append(text % {"experts": listed(missing)})
    return told


def _what_is_made(*, chapters: int, releases: int) -> str:
    if not chapters:
        return _("A new active course is made, without chapters: this course has none.")
    counted = ngettext("%(count)s chapter", "%(count)s chapters", chapters) % {"count": chapters}
    if not releases:
        return _("A new active course is made with %(chapters)s. No release is published in it.") % {
            "chapters": counted
        }
    published = ngettext(
        "%(count)s release is published in it at once, for every device",
        "%(count)s releases are published in it at once, for every device",
        releases,
    ) % {"count": releases}
    return _("A new active course is made with %(chapters)s, and %(releases)s.") % {
        "chapters": counted,
        "releases": published,
    }


def _preview(plan: CoursePlan) -> Panel:
    return Panel(
        title=_("What the new course will have"),
        headings=[_("Chapter"), _("Title"), _("State"), _("Release")],
        rows=[
            [
                Cell(planned.chapter.chapter_code),
                Cell(planned.chapter.title),
                Cell(_("Active"), label="success")
                if planned.chapter.is_active
                else Cell(_("Inactive"), label="danger"),
                _release_cell(planned.release),
            ]
            for planned in plan.chapters
        ],
        empty=_("This course has no chapters."),
    )


def _release_cell(release: BundleRelease | None) -> Cell:
    if release is None:
        return Cell(_("Nothing: no release is for all devices"))
    return Cell(release.version, href=admin_url(BundleRelease, "change", release.pk))


admin.site.unregister(Course)
admin.site.register(Course, CopyableCourseAdmin)
