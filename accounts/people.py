"""Whom staff see by name. Who may not look at users sees everybody else by a name that tells nothing of them.

But for the audit of releases and of API tokens, which is there to name who acted: staff who work with these know each
other. Instructors see neither.
"""

import json
import re
import uuid
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from django.contrib.admin.models import LogEntry
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, pgettext

from accounts.models import User
from config.errors import joined
from config.personal_data import SOME_EMAIL
from config.pseudonyms import pseudonym
from config.search import may_view

if TYPE_CHECKING:
    from config.admin import ModelAdmin

    _Base = ModelAdmin[Any]
else:
    _Base = object

NEUTRAL_NAME_LETTERS: Final = 10
"""Of a pseudonym: 50 bits, so that no two of a million learners are likely to share a name."""
NAMED_IN_HISTORY_MAX: Final = 10
"""Learners whom an entry of a history names; of the others it tells how many they are."""
LEARNERS: Final = "learners"
"""The part of an entry that tells whom it is about, beside what Django's own entries have."""


def may_see_people(viewer: Any) -> bool:
    """Say whether this member of staff may look at users, and so at their names and email addresses."""
    return may_view(viewer, "accounts.user")


def neutral_name(user_id: uuid.UUID) -> str:
    """Name somebody by the beginning of their pseudonym: the same on every page, and in every language."""
    return pseudonym(user_id)[:NEUTRAL_NAME_LETTERS]


def may_look_up(viewer: Any, lookup: str) -> bool:
    """Tell whether a list may be filtered so: by somebody, one finds out their id by halves, which is not for all."""
    return may_see_people(viewer) or lookup.partition("__")[0] not in ("user", "user_id")


def conceal(viewer: Any, row: Any) -> None:
    """Give this row's `user` the neutral name, in memory, for a viewer who may not look at users.

    What a page says of the row then has no other name. Nothing saves that user: it is for being shown. Everybody sees
    their own name.
    """
    if may_see_people(viewer) or row.user_id in (None, viewer.pk):
        return
    user = row.user
    user.email = user.display_name = neutral_name(user.pk)


class ConcealedPeopleMixin(_Base):
    """Rows that have a `user`: on the page, in the list and in confirmations by the name that the viewer may see.

    Attributes:
        neutral_search_help_text: what is searched for by those who may not search by email.
    """

    neutral_search_help_text: Any = None

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        row = super().get_object(request, object_id, from_field)
        if row is not None:
            conceal(request.user, row)
        return row

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        changelist = super().get_changelist_instance(request)
        for row in changelist.result_list:
            conceal(request.user, row)
        if not may_see_people(request.user):
            changelist.search_help_text = self.neutral_search_help_text
        return changelist

    def chosen(self, request: HttpRequest, rows: Any) -> list[Any]:
        found: list[Any] = super().chosen(request, rows)  # type: ignore[misc]
        for row in found:
            conceal(request.user, row)
        return found

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        return may_look_up(request.user, lookup) and super().lookup_allowed(lookup, value, request)

    def get_list_filter(self, request: HttpRequest) -> Any:
        """A filter by somebody would name them."""
        shown = super().get_list_filter(request)
        if may_see_people(request.user):
            return shown
        return [item for item in shown if not (isinstance(item, tuple) and item[0] == "user")]


# --- The history of an object ------------------------------------------------------------------------------------


def learners_of_entry(user_ids: Iterable[uuid.UUID] | None, *, changed: int) -> Mapping[str, Any]:
    """Return whom an entry is about (None: everybody), by id, so that who reads it sees the names that they may see."""
    ids = None if user_ids is None else [str(user_id) for user_id in user_ids]
    named = {} if ids is None else {"ids": ids[:NAMED_IN_HISTORY_MAX], "count": len(ids)}
    return {**named, "changed": changed}


def conceal_in_history(viewer: Any, entries: Iterable[LogEntry]) -> None:
    """Take other people's names out of entries of the admin's log, in memory: who acted, and whom it was about.

    At most one query.
    """
    if may_see_people(viewer):
        return
    told = [(entry, entry.get_change_message()) for entry in entries]
    emails = {email for _entry, message in told for email in SOME_EMAIL.findall(message)} - {viewer.email}
    ids = dict(User.objects.filter(email__in=emails).values_list("email", "pk")) if emails else {}

    def named(found: re.Match[str]) -> str:
        email = found[0]
        if email not in emails:
            return email
        return neutral_name(ids[email]) if email in ids else _("somebody")

    for entry, message in told:
        conceal(viewer, entry)
        if SOME_EMAIL.search(message):
            entry.change_message = SOME_EMAIL.sub(named, message)


class LearnersInHistoryMixin(_Base):
    """Tells in an object's history which learners an entry is about."""

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        response = super().history_view(request, object_id, extra_context)
        if isinstance(response, TemplateResponse) and response.context_data:
            _tell_learners(request.user, response.context_data["action_list"])
        return response


def _tell_learners(viewer: Any, entries: Iterable[LogEntry]) -> None:
    """Put the sentence about the learners behind the entry's own, in memory. At most one query."""
    told = [(entry, learners) for entry in entries if (learners := _learners(entry)) is not None]
    ids = {user_id for _entry, learners in told for user_id in learners.get("ids", ())}
    names: dict[str, str] = {}
    if ids and may_see_people(viewer):
        names = {str(pk): email for pk, email in User.objects.filter(pk__in=ids).values_list("pk", "email")}
    for entry, learners in told:
        told_of = {"first": entry.get_change_message(), "second": _sentence(learners, names)}
        entry.change_message = pgettext("two sentences", "%(first)s %(second)s") % told_of


def _learners(entry: LogEntry) -> dict[str, Any] | None:
    try:
        [message] = json.loads(entry.change_message)
        learners = message[LEARNERS]
    except (ValueError, TypeError, KeyError):
        return None
    return learners if isinstance(learners, dict) else None


def _sentence(learners: Mapping[str, Any], names: Mapping[str, str]) -> str:
    changed = int(learners["changed"])
    if "ids" not in learners:
        return _("For all learners (%(count)s changed).") % {"count": f"{changed:,}"}
    shown = [names.get(user_id) or neutral_name(uuid.UUID(user_id)) for user_id in learners["ids"]]
    others = int(learners["count"]) - len(shown)
    if others > 0:
        shown.append(ngettext("%(count)s other", "%(count)s others", others) % {"count": f"{others:,}"})
    text = _("For %(names)s (%(count)s changed).")
    return text % {"names": joined(shown), "count": f"{changed:,}"}


def said(change: str, **more: Any) -> list[dict[str, Any]]:
    """Return an entry of a history in the form that Django puts into the reader's language: "Changed …".

    Args:
        change: what was changed, marked by `gettext_noop`.
        more: further parts, such as the `name` and `object` of what it was changed of.
    """
    learners = more.pop(LEARNERS, None)
    message: dict[str, Any] = {"changed": {**more, "fields": [change]}}
    return [message if learners is None else {**message, LEARNERS: learners}]
