"""What keeps an instructor from the insights of their course, and what to do about it."""

from typing import Any, Final

from django.contrib.auth.models import Group, Permission
from django.db.models import Exists, OuterRef, Q
from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from accounts.models import User
from accounts.people import may_see_people
from config.admin_pages import admin_url
from config.search import may_view

INSTRUCTORS: Final = "Instructors"
"""The group that is there for them. Whoever has the permission by other ways is as good an instructor."""


def rights_of(person: str) -> dict[str, Exists]:
    """Return the annotations that `obstacle` needs of rows whose user has this path, so that none costs a query."""
    own = Q(user=OuterRef(person)) | Q(group__user=OuterRef(person))
    sight = Permission.objects.filter(own, content_type__app_label="telemetry", codename="view_courseinsights")
    return {
        "has_right": Exists(sight),
        "is_member": Exists(Group.objects.filter(name=INSTRUCTORS, user=OuterRef(person))),
    }


def obstacle(viewer: Any, person: User, *, has_right: bool, is_member: bool) -> SafeString:
    """Say what keeps this person from the insights, with links for who may follow them; nothing if nothing does."""
    if not person.is_active:
        text = _("%(email)s is inactive, and can't log in. Make them active first, on their own page.")
    elif not person.has_usable_password():
        text = _("%(email)s has no password, and can't log in. Set one first, on their own page.")
    elif not person.is_staff:
        text = _("%(email)s isn't staff. Make them staff and add them to the group “Instructors” first.")
    elif has_right or person.is_superuser:
        return SafeString("")
    elif is_member:
        text = _(
            "%(email)s may not view insights: the group “%(group)s” lacks the permission. Give it to the group first."
        )
    else:
        text = _("%(email)s isn't in the group “Instructors”. Add them to it first, on their own page.")
    own_page = admin_url(User, "change", person.pk) if may_see_people(viewer) else ""
    groups = admin_url(Group, "changelist", q=INSTRUCTORS) if may_view(viewer, "auth.group") else ""
    return SafeString(
        conditional_escape(text) % {"email": _link(person.email, own_page), "group": _link(INSTRUCTORS, groups)}
    )


def _link(text: str, href: str) -> SafeString:
    return format_html('<a class="prose-link" href="{}">{}</a>', href, text) if href else format_html("{}", text)
