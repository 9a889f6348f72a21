"""The rows of the table of chapters, put together without templates.

A template for each field of each row, as unfold and Django have it, takes more than half a second for 200 chapters.
"""

from collections.abc import Iterator
from typing import Any, Final

from django import template
from django.contrib.admin.helpers import InlineAdminFormSet
from django.forms import BaseForm
from django.forms.formsets import DELETION_FIELD_NAME
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from courses.models import Chapter

register = template.Library()

FIELDS: Final = ("order", "chapter_code", "title", "is_active")

_CHECKED: Final = SafeString(" checked")
_DISABLED: Final = SafeString(" disabled")
_SORTABLE: Final = SafeString(" x-sort:item")
_HANDLE: Final = SafeString(
    '<span class="handle" x-sort:handle><span class="material-symbols-outlined">drag_indicator</span></span>'
)


@register.simple_tag
def chapter_rows(table: InlineAdminFormSet) -> SafeString:
    """Draw the chapters, and the row of which new ones are made."""
    return format_html_join("\n", "{}", ((row,) for row in _rows(table)))


def _rows(table: Any) -> Iterator[SafeString]:
    words = _Words()
    for form in table.formset.forms:
        is_new = form.instance._state.adding
        if is_new or table.has_change_permission:
            yield _row(form, words, deletes=table.has_delete_permission and table.formset.can_delete)
        else:
            yield _read_only_row(form, words)
    if table.has_add_permission:
        yield _row(table.formset.empty_form, words, deletes=False, is_empty=True)


class _Words:
    """What the rows say, looked up once."""

    def __init__(self) -> None:
        self.labels = {
            "order": _("Order"),
            "chapter_code": _("Chapter code"),
            "title": _("Title"),
            "is_active": _("Active"),
        }
        self.new = _("new chapter")
        self.field_of = _("%(field)s of %(chapter)s")
        self.delete = _("Delete %(chapter)s")
        self.remove = _("Take this row away")
        self.up, self.down = _("Move %(chapter)s up"), _("Move %(chapter)s down")
        self.released = _("The chapter has releases.")
        self.used = _("The chapter has releases or progress: switch it off instead.")
        self.going = _("Deleted on saving")
        self.yes, self.no = _("Yes"), _("No")


def _row(form: BaseForm, words: _Words, *, deletes: bool, is_empty: bool = False) -> SafeString:
    chapter = form.instance  # type: ignore[attr-defined]
    is_new = chapter._state.adding
    named = {"chapter": words.new if is_new else chapter.chapter_code}
    kind = f"template{' empty-form' if is_empty else ''}" if is_new else "original"
    return format_html(
        '<tbody class="form-group {}"{}>{}<tr class="form-row">{}<td class="acts">{}{}{}</td></tr></tbody>',
        kind,
        "" if is_new else _SORTABLE,
        _row_errors(form),
        format_html_join("", "{}", ((_cell(form, name, words, named["chapter"]),) for name in FIELDS)),
        _hidden(form),
        "" if is_new else _moves(words, named),
        _take_away(words) if is_new else _deletion(form, words, named) if deletes else "",
    )


def _cell(form: BaseForm, name: str, words: _Words, chapter: str) -> SafeString:
    bound = form[name]
    errors = bound.errors
    common = format_html(
        'name="{}" id="{}" aria-label="{}"{}{}',
        bound.html_name,
        bound.auto_id,
        words.field_of % {"field": words.labels[name], "chapter": chapter},
        format_html(' aria-invalid="true" aria-describedby="{}_error"', bound.auto_id) if errors else "",
        format_html(' disabled title="{}"', words.released) if bound.field.disabled else "",
    )
    value = "" if bound.value() is None else bound.value()
    if name == "is_active":
        field = format_html('<input type="checkbox" {}{}>', common, _CHECKED if value else "")
    elif name == "order":
        field = format_html('<input type="number" min="0" value="{}" {}>', value, common)
    else:
        longest = getattr(Chapter._meta.get_field(name), "max_length", None)
        field = format_html('<input type="text" maxlength="{}" value="{}" {}>', longest, value, common)
    return format_html(
        '<td class="field-{}" data-label="{}">{}{}{}</td>',
        name,
        words.labels[name],
        _HANDLE if name == "order" and not form.instance._state.adding else "",  # type: ignore[attr-defined]
        field,
        format_html('<p class="error" id="{}_error">{}</p>', bound.auto_id, " ".join(map(str, errors)))
        if errors
        else "",
    )


def _hidden(form: BaseForm) -> SafeString:
    """The keys by which the formset knows the row."""
    fields = [bound for bound in form if bound.is_hidden]
    known = ((bound.html_name, bound.auto_id, bound.value() or "") for bound in fields)
    return format_html_join("", '<input type="hidden" name="{}" id="{}" value="{}">', known)


def _moves(words: _Words, named: dict[str, str]) -> SafeString:
    return format_html_join(
        "",
        '<button type="button" data-move="{}" aria-label="{}">'
        '<span class="material-symbols-outlined">{}</span></button>',
        (("-1", words.up % named, "arrow_upward"), ("1", words.down % named, "arrow_downward")),
    )


def _deletion(form: BaseForm, words: _Words, named: dict[str, str]) -> SafeString:
    bound = form[DELETION_FIELD_NAME]
    return format_html(
        '<label class="deletion"{}><input type="checkbox" class="delete" name="{}" id="{}" aria-label="{}"{}>'
        '<span class="material-symbols-outlined">delete</span><span class="going">{}</span></label>',
        format_html(' title="{}"', words.used) if bound.field.disabled else "",
        bound.html_name,
        bound.auto_id,
        words.delete % named,
        _DISABLED if bound.field.disabled else _CHECKED if bound.value() else "",
        words.going,
    )


def _take_away(words: _Words) -> SafeString:
    return format_html(
        '<button type="button" class="delete-template" aria-label="{}"><span class="material-symbols-outlined">close'
        "</span></button>",
        words.remove,
    )


def _row_errors(form: BaseForm) -> SafeString:
    errors = form.non_field_errors()
    if not errors:
        return SafeString("")
    return format_html(
        '<tr class="row-form-errors"><td colspan="5" class="error">{}</td></tr>', " ".join(map(str, errors))
    )


def _read_only_row(form: BaseForm, words: _Words) -> SafeString:
    chapter = form.instance  # type: ignore[attr-defined]
    values = (chapter.order, chapter.chapter_code, chapter.title, words.yes if chapter.is_active else words.no)
    cells = zip(FIELDS, (words.labels[name] for name in FIELDS), values, strict=True)
    return format_html(
        '<tbody class="form-group original"><tr class="form-row">{}<td class="acts">{}</td></tr></tbody>',
        format_html_join("", '<td class="field-{}" data-label="{}">{}</td>', cells),
        _hidden(form),
    )
