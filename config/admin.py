"""What every page of the admin builds on: django-unfold's classes, bounded counts, and the menu at the side.

unfold draws Django's own admin anew (dark mode, phones, charts) and leaves its model admins as they are.
"""

from typing import TYPE_CHECKING, Any, TypeVar

from django.contrib import messages
from django.contrib.admin import helpers
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db.models import DateTimeField, ForeignKey, Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from unfold.forms import AdminForm, Fieldline

from config import limits
from config.search import Query

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin as UnfoldModelAdmin
    from django.contrib.admin import StackedInline, TabularInline
else:
    from unfold.admin import ModelAdmin as UnfoldModelAdmin
    from unfold.admin import StackedInline, TabularInline

__all__ = ["BoundedPaginator", "ModelAdmin", "StackedInline", "TabularInline", "navigation"]

_Model = TypeVar("_Model", bound=Model)

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


class ModelAdmin(UnfoldModelAdmin[_Model]):
    """A model in the admin, whose tables may hold millions of rows."""

    paginator = BoundedPaginator
    show_full_result_count = False
    list_per_page = 50
    deletes_from_list = True
    """Whether what is chosen in the list can be deleted there, by who may delete."""

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        actions = super().get_actions(request)
        if not self.deletes_from_list:
            actions.pop("delete_selected", None)
        return actions

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
