"""The chapters on the page of their course: a table that is edited in place, also with hundreds of rows."""

from collections.abc import Collection
from typing import Any, Final

from django import forms
from django.contrib import admin
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from config import limits
from config.admin import ModelAdmin, TabularInline
from config.admin_pages import BoundedDeletionMixin
from config.errors import ApiError
from courses.models import Chapter, Course
from courses.services import require_room_for_chapters

WIDE_STEP: Final = 10
"""Many leave room between the numbers of chapters, for those that come to mind later."""


def order_step(orders: Collection[int]) -> int:
    """Return how far a new chapter's number is from the last one's: as far as those that are there suggest."""
    return WIDE_STEP if any(orders) and all(order % WIDE_STEP == 0 for order in orders) else 1


class ChapterForm(forms.ModelForm[Chapter]):
    """Clients file what they installed under a chapter's code: once the chapter has a release, its code stays."""

    class Meta:
        help_texts = {
            "chapter_code": gettext_lazy("It can't change any more once the chapter has a release."),
            "order": gettext_lazy("Lower numbers come first. Drag a row, use its arrows, or type a number."),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if getattr(self.instance, "has_releases", False):
            self.fields["chapter_code"].disabled = True

    def has_changed(self) -> bool:
        """Take a new row that has only the number that was proposed for it for none."""
        return bool(self.changed_data) and not (self.instance._state.adding and self.changed_data == ["order"])


class KnownRowField(forms.ModelChoiceField[Chapter]):
    """The hidden key of a row that the formset has read already: Django's own field reads each row once more."""

    known: Chapter

    def to_python(self, value: Any) -> Chapter | None:
        return self.known if str(value) == str(self.known.pk) else super().to_python(value)


class ChapterFormSet(forms.BaseInlineFormSet[Chapter, Course, forms.ModelForm[Chapter]]):
    def add_fields(self, form: Any, index: int | None) -> None:
        """Offer to delete only what nothing hangs on. The others are switched off."""
        super().add_fields(form, index)
        if not form.instance._state.adding:
            key = form.fields["id"]
            form.fields["id"] = KnownRowField(key.queryset, initial=key.initial, required=False, widget=key.widget)
            form.fields["id"].known = form.instance
        field = form.fields.get(forms.formsets.DELETION_FIELD_NAME)
        if field is not None and getattr(form.instance, "is_used", False):
            field.disabled = True

    @property
    def step(self) -> int:
        return order_step([form.instance.order for form in self.initial_forms])

    @property
    def empty_form(self) -> forms.ModelForm[Chapter]:
        """The row that new ones are made of. Its number comes after the last one."""
        form = super().empty_form
        form.initial["order"] = max((known.instance.order for known in self.initial_forms), default=0) + self.step
        return form

    def clean(self) -> None:
        """Refuse two chapters of one code, and too many: all of the course's are here, so that it takes no query."""
        super().clean()
        deleted = set(self.deleted_forms)  # Django asks all forms each time whether they are valid
        seen: set[str] = set()
        for form in self.forms:
            code = str(form.cleaned_data.get("chapter_code", "") if form.is_valid() else "").lower()
            if not code or form in deleted:
                continue
            if code in seen:
                form.add_error("chapter_code", _("The course has a chapter with this code already."))
            seen.add(code)
        added = sum(form.has_changed() for form in self.extra_forms)
        if added:
            self._require_room(len(self.initial_forms) - len(deleted) + added)

    def _require_room(self, count: int) -> None:
        try:
            require_room_for_chapters(count=count)
        except ApiError as error:
            raise forms.ValidationError(error.sentence) from error


class ChapterInline(TabularInline[Chapter, Course]):
    """Its template draws the rows without unfold's: those would take more than half a second for 200 chapters."""

    model = Chapter
    form = ChapterForm
    formset = ChapterFormSet
    template = "admin/courses/chapters.html"
    extra = 0
    max_num = limits.CHAPTERS_PER_COURSE_MAX
    fields = ("order", "chapter_code", "title", "is_active")
    add_text = gettext_lazy("Add a chapter")

    class Media:
        css = {"all": ("courses/chapters.css",)}
        js = ("courses/chapters.js",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Chapter]:
        own = Chapter.objects.filter(pk=OuterRef("pk"))
        released, begun = Exists(own.filter(releases__isnull=False)), Exists(own.filter(progress__isnull=False))
        chapters = super().get_queryset(request).select_related("course")
        return chapters.annotate(has_releases=released, is_used=Q(released) | Q(begun))


@admin.register(Chapter)
class ChapterAdmin(BoundedDeletionMixin, ModelAdmin[Chapter]):
    """For the search in other forms; chapters are edited on the page of their course."""

    search_fields = ("chapter_code", "title", "course__course_code")
    ordering = ("course__course_code", "order", "chapter_code")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Chapter]:
        return super().get_queryset(request).select_related("course")

    def has_module_permission(self, request: HttpRequest) -> bool:
        return False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Chapter | None = None) -> bool:
        return False
