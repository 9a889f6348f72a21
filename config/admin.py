"""What every page of the admin builds on: django-unfold's classes, bounded counts, and the menu at the side.

unfold draws Django's own admin anew (dark mode, phones, charts) and leaves its model admins as they are.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from django.contrib import messages
from django.contrib.admin import helpers
from django.contrib.admin.models import LogEntry
from django.contrib.admin.widgets import AutocompleteMixin, AutocompleteSelect, AutocompleteSelectMultiple
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db.models import DateTimeField, ForeignKey, ManyToManyField, Model, QuerySet
from django.forms import ModelChoiceField, ModelMultipleChoiceField
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.safestring import mark_safe
from django.utils.translation import gettext as _
from unfold.forms import AdminForm, Fieldline

from config import limits
from config.search import Query

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin as UnfoldModelAdmin
    from django.contrib.admin import StackedInline as UnfoldStackedInline
    from django.contrib.admin import TabularInline as UnfoldTabularInline
    from django.contrib.admin.options import BaseModelAdmin

    _Fields = BaseModelAdmin[Any]
    _Widget = AutocompleteMixin
else:
    from unfold.admin import ModelAdmin as UnfoldModelAdmin
    from unfold.admin import StackedInline as UnfoldStackedInline
    from unfold.admin import TabularInline as UnfoldTabularInline

    _Fields = _Widget = object

__all__ = [
    "NO_VALUE",
    "BoundedPaginator",
    "ModelAdmin",
    "Search",
    "SearchMany",
    "StackedInline",
    "TabularInline",
    "navigation",
]

_Model = TypeVar("_Model", bound=Model)
_Parent = TypeVar("_Parent", bound=Model)

NO_VALUE: Final = mark_safe('<span class="no-value">-</span>')
"""What a list shows where there is no value. On a phone, whose lists are cards, it is left out (config/admin.css)."""

SECRETS: Final = frozenset({"password", "digest", "refresh_digest"})
"""Columns, of whatever table, that no list is filtered by: whoever may see it would find them out letter by letter."""

# unfold puts these in place in its own `changeform_view`. A page that goes around it would have Django's labels until
# this process has shown another form.
helpers.AdminForm = AdminForm  # type: ignore[misc]
helpers.Fieldline = Fieldline  # type: ignore[misc]


class BoundedPaginator(Paginator[Any]):
    """Counts up to a bound, and shows no page beyond it: searching is quicker than paging there."""

    @cached_property
    def count(self) -> int:
        rows = self.object_list
        if not isinstance(rows, QuerySet):
            return min(len(rows), limits.ADMIN_LIST_COUNTED_MAX_ROWS)
        return rows.order_by()[: limits.ADMIN_LIST_COUNTED_MAX_ROWS].count()


# --- Fields in which rows are found by typing -----------------------------------------------------------------------


class _ShowsKeysOnly(_Widget):
    """Leaves out what was sent and can be no key: Django looks for it, to show it again, and the database refuses."""

    def optgroups(self, name: str, value: Sequence[Any], attr: dict[str, Any] | None = None) -> Any:
        return super().optgroups(name, [key for key in value if self._may_be_key(key)], attr)

    def _may_be_key(self, value: Any) -> bool:
        remote = self.field.remote_field
        name = getattr(remote, "field_name", None) or remote.model._meta.pk.name
        key = remote.model._meta.get_field(name)
        try:
            key.run_validators(key.to_python(value))
        except ValidationError:
            return False
        return True


class Search(_ShowsKeysOnly, AutocompleteSelect):
    """Chooses one row. In a form that is no model's: `Search(Model._meta.get_field("name"), admin.site)`."""


class SearchMany(_ShowsKeysOnly, AutocompleteSelectMultiple):
    """Chooses several rows."""


class _SearchedFields(_Fields):
    """Makes the fields that `autocomplete_fields` names with the widgets above."""

    def formfield_for_foreignkey(
        self, db_field: "ForeignKey[Any]", request: HttpRequest, **kwargs: Any
    ) -> ModelChoiceField[Any] | None:
        if "widget" not in kwargs and db_field.name in self.get_autocomplete_fields(request):
            kwargs["widget"] = Search(db_field, self.admin_site, using=kwargs.get("using"))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def formfield_for_manytomany(
        self, db_field: "ManyToManyField[Any, Any]", request: HttpRequest, **kwargs: Any
    ) -> ModelMultipleChoiceField[Any] | None:
        if "widget" not in kwargs and db_field.name in self.get_autocomplete_fields(request):
            kwargs["widget"] = SearchMany(db_field, self.admin_site, using=kwargs.get("using"))
        return super().formfield_for_manytomany(db_field, request, **kwargs)


class TabularInline(_SearchedFields, UnfoldTabularInline[_Model, _Parent]):
    """Rows that belong to an object, in a table on its page."""


class StackedInline(_SearchedFields, UnfoldStackedInline[_Model, _Parent]):
    """Rows that belong to an object, one below the other on its page."""


# --- Models -------------------------------------------------------------------------------------------------------


class ModelAdmin(_SearchedFields, UnfoldModelAdmin[_Model]):
    """A model in the admin, whose tables may hold millions of rows."""

    paginator = BoundedPaginator
    show_full_result_count = False
    list_per_page = 50

    def get_paginator(self, request: HttpRequest, queryset: Any, *args: Any, **kwargs: Any) -> Paginator[Any]:
        """Show the newest entry of an object's history first: Django asks for the oldest, before it makes pages."""
        if isinstance(queryset, QuerySet) and queryset.model is LogEntry:
            queryset = queryset.order_by("-action_time", "-pk")
        return super().get_paginator(request, queryset, *args, **kwargs)

    empty_value_display = NO_VALUE
    deletes_from_list = True
    """Whether what is chosen in the list can be deleted there, by who may delete."""

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        actions = super().get_actions(request)
        if not self.deletes_from_list:
            actions.pop("delete_selected", None)
        return actions

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        return not SECRETS.intersection(lookup.split("__")) and super().lookup_allowed(lookup, value, request)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[_Model], search_term: str
    ) -> tuple[QuerySet[_Model], bool]:
        """Look for a few words only: each is a condition, and an address has room for a thousand."""
        return super().get_search_results(request, queryset, " ".join(Query.of(search_term).words))

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[_Model], *args: Any, **kwargs: Any
    ) -> HttpResponse | None:
        """Like Django's, which answers 500 to an id that is none."""
        try:
            for key in request.POST.getlist(helpers.ACTION_CHECKBOX_NAME):
                self.opts.pk.to_python(key)
        except ValidationError:
            self.message_user(request, _("What was chosen is not in this list. Nothing was done."), messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())
        return super().response_action(request, queryset, *args, **kwargs)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Leave out what an address proposes for a field that can't have it: the form could not be shown."""
        proposed = super().get_changeform_initial_data(request)
        fields = {field.name: field for field in self.opts.fields if isinstance(field, ForeignKey | DateTimeField)}
        for name in fields.keys() & proposed.keys():
            try:
                value = fields[name].to_python(proposed[name])
            except ValidationError:
                del proposed[name]
            else:
                proposed[name] = value
        return proposed


# --- The menu -----------------------------------------------------------------------------------------------------


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the menu, as unfold's setting `SIDEBAR.navigation` has it: what this person may see, by what it's for."""
    groups = [
        _group("", _item(_("Overview"), "dashboard", "index")),
        _group(
            _("Content"),
            _item(_("Releases"), "deployed_code", "updates_bundlerelease_changelist", "updates.view_bundlerelease"),
            _item(_("API tokens"), "key", "updates_apitoken_changelist", "updates.view_apitoken"),
            _item(_("Audit"), "history", "updates_releaseevent_changelist", "updates.view_releaseevent"),
        ),
        _group(
            _("Teaching"),
            _item(_("Courses"), "school", "courses_course_changelist", "courses.view_course"),
            _item(
                _("Course insights"),
                "monitoring",
                "telemetry_courseinsights_changelist",
                "telemetry.view_courseinsights",
            ),
            _item(_("Enrolments"), "how_to_reg", "courses_enrollment_changelist", "courses.view_enrollment"),
            _item(
                _("Progress entries"),
                "checklist",
                "telemetry_chapterprogress_changelist",
                "telemetry.view_chapterprogress",
            ),
        ),
        _group(
            _("People"),
            _item(_("Users"), "person", "accounts_user_changelist", "accounts.view_user"),
            _item(_("Devices"), "devices", "accounts_devicesession_changelist", "accounts.view_devicesession"),
            _item(_("Groups"), "groups", "auth_group_changelist", "auth.view_group"),
        ),
    ]
    shown = [{**group, "items": [item for item in group["items"] if _may_see(request, item)]} for group in groups]
    return [group for group in shown if group["items"]]


def _group(title: str, *items: dict[str, Any]) -> dict[str, Any]:
    return {"title": title, "separator": bool(title), "items": list(items)}


def _item(title: str, icon: str, url_name: str, permission: str = "") -> dict[str, Any]:
    return {"title": title, "icon": icon, "link": reverse(f"admin:{url_name}"), "needs": permission}


def _may_see(request: HttpRequest, item: dict[str, Any]) -> bool:
    """Whoever may change something may see it, as in Django's own list of models."""
    needs: str = item["needs"]
    return not needs or any(request.user.has_perm(code) for code in (needs, needs.replace(".view_", ".change_")))
