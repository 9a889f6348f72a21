"""The instructors on the page of their course: whose learners a member of staff sees, and whether by email."""

from typing import Any

from django import forms
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import User
from accounts.people import conceal, may_see_people
from config.admin import TabularInline
from config.admin_pages import admin_url
from courses.admin.obstacles import obstacle, rights_of
from courses.models import Course, CourseInstructor


class NameWidget(forms.Widget):
    """The name of somebody, where another is another row; it leads to their page. Or what hinders them."""

    def __init__(self, person: User, *, leads_there: bool, obstacle: SafeString) -> None:
        super().__init__()
        self._person, self._leads_there, self._obstacle = person, leads_there, obstacle

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        if self._obstacle:
            return format_html('<span class="readonly-name obstacle">{}</span>', self._obstacle)
        if not self._leads_there:
            return format_html('<span class="readonly-name">{}</span>', self._person.email)
        url = admin_url(User, "change", self._person.pk)
        return format_html('<a class="readonly-name prose-link" href="{}">{}</a>', url, self._person.email)


class KnownPersonField(forms.Field):
    """The instructor of a row that is there already: it costs no query, and nobody exchanges it for another."""

    def __init__(self, person: User, *, leads_there: bool, obstacle: SafeString) -> None:
        widget = NameWidget(person, leads_there=leads_there, obstacle=obstacle)
        super().__init__(required=False, disabled=True, label=_("Instructor"), widget=widget)
        self._person = person

    def clean(self, value: Any) -> User:
        return self._person


class InstructorForm(forms.ModelForm[CourseInstructor]):
    """Only who can see insights is bound to a course: for everybody else it would have no effect."""

    viewer: Any

    class Meta:
        help_texts = {
            "user": gettext_lazy("A member of staff who may view insights, such as those in the group “Instructors”."),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.instance._state.adding:
            conceal(self.viewer, self.instance)
        emails = self.fields["may_see_emails"]
        emails.widget.attrs["aria-label"] = emails.label
        if not self.instance._state.adding and "user" in self.fields:
            known: Any = self.instance
            hint = obstacle(self.viewer, known.user, has_right=known.has_right, is_member=known.is_member)
            self.fields["user"] = KnownPersonField(known.user, leads_there=may_see_people(self.viewer), obstacle=hint)

    def clean_user(self) -> User:
        person: User = self.cleaned_data["user"]
        if not self.instance._state.adding:
            return person
        rights: Any = User.objects.filter(pk=person.pk).values(**rights_of("pk")).get()
        if hint := obstacle(self.viewer, person, **rights):
            raise forms.ValidationError(hint)
        return person

    def clean_may_see_emails(self) -> bool:
        """Nobody grants what they don't have."""
        granted: bool = self.cleaned_data["may_see_emails"]
        if granted and "may_see_emails" in self.changed_data and not may_see_people(self.viewer):
            raise forms.ValidationError(_("You may not look at users yourself, so you can't let others see emails."))
        return granted


class InstructorFormSet(forms.BaseInlineFormSet[CourseInstructor, Course, forms.ModelForm[CourseInstructor]]):
    def add_fields(self, form: Any, index: int | None) -> None:
        """Name the box that takes an instructor away, of which unfold draws an icon only."""
        super().add_fields(form, index)
        field = form.fields.get(forms.formsets.DELETION_FIELD_NAME)
        if field is not None and not form.instance._state.adding:
            field.widget.attrs["aria-label"] = _("Delete instructor %(email)s") % {"email": form.instance.user.email}


class InstructorInline(TabularInline[CourseInstructor, Course]):
    """For those who may change the course; looking for somebody to add takes the permission to look at users."""

    model = CourseInstructor
    form = InstructorForm
    formset = InstructorFormSet
    extra = 0
    fields = ("user", "may_see_emails")
    autocomplete_fields = ("user",)
    ordering = ("user__email",)
    hide_title = True
    verbose_name_plural = gettext_lazy("instructors who may see this course's insights")
    add_text = gettext_lazy("Add an instructor")

    class Media:
        css = {"all": ("courses/course.css",)}

    def get_queryset(self, request: HttpRequest) -> QuerySet[CourseInstructor]:
        return super().get_queryset(request).select_related("user", "course").annotate(**rights_of("user"))

    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        """Tell the forms whose page it is."""
        form = type("InstructorForm", (self.form,), {"viewer": request.user})
        return super().get_formset(request, obj, **{**kwargs, "form": form})

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_change_permission(request, obj) or super().has_view_permission(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.has_perm("courses.change_course"))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_change_permission(request, obj)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_change_permission(request, obj) and may_see_people(request.user)
