"""Parts of the admin's pages that the rooms share: panels that other rooms show, confirmations, bounded deletions."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import unquote
from django.db.models import CASCADE, PROTECT, RESTRICT, ForeignObjectRel, Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from unfold.enums import ActionVariant

from config import limits
from config.admin import ModelAdmin

_Function = TypeVar("_Function", bound=Callable[..., Any])

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

    _Base = ModelAdmin[Any]

    def action(
        *, description: StrOrPromise, permissions: Sequence[str], icon: str = "", variant: ActionVariant | None = None
    ) -> Callable[[_Function], _Function]: ...

    def display(
        *, description: StrOrPromise, label: dict[Any, str] | None = None, header: bool = False
    ) -> Callable[[_Function], _Function]: ...
else:
    from unfold.decorators import action, display

    _Base = object

__all__ = [
    "BoundedDeletionMixin",
    "Cell",
    "ChangedFieldsMixin",
    "PageActionsMixin",
    "Panel",
    "PanelsMixin",
    "RowActionsMixin",
    "action",
    "admin_url",
    "ask",
    "back_url",
    "display",
    "is_confirmed",
    "shown_on",
    "small_button",
]

_Model = TypeVar("_Model", bound=Model)

# The classes of unfold's small button; as a template, fifty of them would take longer than the list.
_BUTTON: Final = (
    '<a href="{}" class="border border-base-200 cursor-pointer dark:bg-transparent dark:border-base-700 '
    "font-medium inline-flex items-center justify-center px-2 py-1 rounded-default shadow-xs text-important "
    'whitespace-nowrap hover:bg-base-100/80 dark:hover:bg-base-800/80">{}<span class="visually-hidden"> {}</span></a>'
)


def small_button(href: str, text: str, *, of: str) -> SafeString:
    """Make the link of a row that leads to a page of confirmation; `of` says to those who hear it whose it is."""
    return format_html(_BUTTON, href, text, of)


def admin_url(model: type[Model], page: str, *args: Any, **query: Any) -> str:
    """Return the address of a page of this model, such as `change` or `changelist`."""
    opts = model._meta
    return reverse(f"admin:{opts.app_label}_{opts.model_name}_{page}", args=args, query=query or None)


def back_url(request: HttpRequest, otherwise: str) -> str:
    """Return the page on which something was asked for: the query's `back`, if that is a page of the admin."""
    back = request.GET.get("back", "")
    is_ours = back.startswith(reverse("admin:index")) and url_has_allowed_host_and_scheme(back, allowed_hosts=None)
    return back if is_ours else otherwise


class ChangedFieldsMixin(_Base):
    """Saves what was changed in the form only: a full save would overwrite what another request has just written."""

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if not change:
            super().save_model(request, obj, form, change)
            return
        columns = {column.name for column in obj._meta.concrete_fields}
        obj.save(update_fields=[name for name in form.changed_data if name in columns])


# --- Panels: what the rooms show on an object's page --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cell:
    """Text in a panel's table, which may be a link, a label (unfold's variants) or a button."""

    text: Any
    href: str = ""
    label: str = ""
    button_of: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """A short table on an object's page, and the ways to all of it: (text, address)."""

    title: str
    headings: Sequence[str] = ()
    rows: Sequence[Sequence[Cell]] = ()
    empty: str = ""
    links: Sequence[tuple[str, str]] = ()
    sentences: Sequence[str] = field(default_factory=tuple)


Contributor = Callable[[HttpRequest, Any], Panel | None]
_contributors: Final[dict[type[Model], list[Contributor]]] = defaultdict(list)


def shown_on(model: type[Model]) -> Callable[[Contributor], Contributor]:
    """Show what this function returns on the pages of the model: a higher room's rows on a lower room's page.

    It gets the request and the object, and returns None for those who may not see it. Its queries must be bounded.
    """

    def register(contributor: Contributor) -> Contributor:
        _contributors[model].append(contributor)
        return contributor

    return register


class PanelsMixin(_Base):
    """Shows below an object's form what the rooms have to show on it."""

    change_form_outer_after_template = "admin/panels.html"

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        found = (contributor(request, obj) for contributor in _contributors[self.model]) if obj else ()
        context["panels"] = [panel for panel in found if panel]
        return super().render_change_form(request, context, add, change, form_url, obj)


# --- Confirmations ------------------------------------------------------------------------------------------------


def ask(
    model_admin: "admin.ModelAdmin[Any]",
    request: HttpRequest,
    *,
    title: str,
    cancel_url: str,
    obj: Model | None = None,
    **context: Any,
) -> HttpResponse:
    """Show the page between asking for something and doing it.

    Args:
        obj: whose page it was asked on.
        context: `consequences`, sentences of what will happen; `hidden`, pairs that are sent again; `form` and
            `panels`; `submit_text`, the button's (default: the title), and its `variant`.
    """
    shown = {
        **model_admin.admin_site.each_context(request),
        "title": title,
        "opts": model_admin.opts,
        "original": obj,
        "cancel_url": cancel_url,
        **context,
    }
    return TemplateResponse(request, "admin/ask.html", shown)


def is_confirmed(request: HttpRequest) -> bool:
    return request.method == "POST" and "confirmed" in request.POST


class PageActionsMixin(_Base):
    """Offers those of `actions_detail`, the buttons on an object's page, that the object's state leaves to do."""

    def possible_actions(self, request: HttpRequest, obj: Any) -> Collection[str]:
        """Return the names of their methods."""
        raise NotImplementedError

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        offered = super().get_actions_detail(request, object_id)  # type: ignore[misc]
        obj = self.get_object(request, unquote(str(object_id))) if offered else None
        names = self.possible_actions(request, obj) if obj else ()
        return [found for found in offered if found.path in names]


class RowActionsMixin(_Base):
    """Lets an action of the list ask before it is done, and a row have a button.

    Attributes:
        row_permission: the permission for which `has_…_permission` is asked whether the rows have their button.
    """

    row_permission = ""

    def row_button(self, obj: Any) -> tuple[str, str, str] | None:
        """Return the button's text, the action of `actions_detail` that it leads to, and whose it is."""
        raise NotImplementedError

    def get_list_display(self, request: HttpRequest) -> Any:
        """Add the buttons. What they do leads back to this list, with its filters."""
        shown = super().get_list_display(request)
        if not self.row_permission or not getattr(self, f"has_{self.row_permission}_permission")(request):
            return shown

        @admin.display(description="")
        def act(obj: Model) -> str:
            button = self.row_button(obj)
            if button is None:
                return ""
            text, page, of = button
            return small_button(admin_url(self.model, page, obj.pk, back=request.get_full_path()), text, of=of)

        return [*shown, act]

    def chosen(self, request: HttpRequest, rows: QuerySet[_Model]) -> list[_Model]:
        """Return the chosen rows; none, with a message that says so, when there are too many for one act."""
        found = list(rows[: limits.ADMIN_ROWS_PER_ACT_MAX + 1])
        if len(found) <= limits.ADMIN_ROWS_PER_ACT_MAX:
            return found
        text = _("At most %(count)s can be changed together. Nothing was done.")
        self.message_user(request, text % {"count": f"{limits.ADMIN_ROWS_PER_ACT_MAX:,}"}, messages.ERROR)
        return []

    def ask_for_rows(
        self, request: HttpRequest, rows: Iterable[Model], *, action: str, title: str, **context: Any
    ) -> HttpResponse:
        hidden = [("action", action), *((ACTION_CHECKBOX_NAME, str(row.pk)) for row in rows)]
        return ask(self, request, title=title, hidden=hidden, cancel_url=request.get_full_path(), **context)


# --- Deletions ----------------------------------------------------------------------------------------------------


class BoundedDeletionMixin(_Base):
    """Tells before a deletion what goes with it by counts, up to a bound.

    Django's own page reads and lists every related row, and dies of 100,000 of them.
    """

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[str, Any], set[str], list[str]]:
        roots = list(objs)
        site = self.admin_site
        lacking = {str(self.opts.verbose_name) for root in roots if not self.has_delete_permission(request, root)}
        counts: dict[str, Any] = {str(self.opts.verbose_name_plural): len(roots)}
        protected: list[str] = []
        rows = self.model._base_manager.filter(pk__in=[root.pk for root in roots])
        for related, is_protected in _related(rows):
            name = str(related.model._meta.verbose_name_plural)
            count = _bounded(related)
            if is_protected:
                protected.append(f"{capfirst(name)}: {count}")
                continue
            counts[name] = count
            if site.is_registered(related.model):
                keeper = site.get_model_admin(related.model)
                if not keeper.has_delete_permission(request):
                    lacking.add(str(related.model._meta.verbose_name))
        named = [f"{capfirst(str(self.opts.verbose_name))}: {root}" for root in roots]
        return named, counts, lacking, protected


def _related(rows: QuerySet[Any]) -> Iterator[tuple[QuerySet[Any], bool]]:
    """Yield what a deletion of these rows would delete as well, and what forbids it (True). One query for each."""
    for relation in rows.model._meta.get_fields(include_hidden=True):
        if not isinstance(relation, ForeignObjectRel) or relation.on_delete not in (CASCADE, PROTECT, RESTRICT):
            continue
        if relation.related_model._meta.auto_created:  # the table behind a many-to-many field
            continue
        related = relation.related_model._base_manager.filter(**{f"{relation.field.name}__in": rows})
        if related.exists():
            yield related, relation.on_delete is not CASCADE
            if relation.on_delete is CASCADE:
                yield from _related(related)


def _bounded(rows: QuerySet[Any]) -> str:
    count = rows.order_by()[: limits.ADMIN_RELATED_COUNTED_MAX_ROWS + 1].values("pk").count()
    if count <= limits.ADMIN_RELATED_COUNTED_MAX_ROWS:
        return f"{count:,}"
    return _("more than %(count)s") % {"count": f"{limits.ADMIN_RELATED_COUNTED_MAX_ROWS:,}"}
