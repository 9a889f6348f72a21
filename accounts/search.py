"""People in the admin's search."""

from collections.abc import Iterator

from django.urls import reverse
from django.utils.translation import gettext as _

from accounts.models import User
from accounts.selectors import find_users
from config.errors import joined
from config.search import Hit, Hits, Person, Query, cut, may_view


def search(*, person: Person, query: Query, limit: int) -> Iterator[Hits]:
    """Find people by the beginnings of the words of their name and email address. Two queries, by an index."""
    if not may_view(person, "accounts.user"):
        return
    ids = find_users(text=query.text, limit=limit + 1)
    users = User.objects.filter(pk__in=ids).only("email", "display_name", "is_active", "is_staff")
    found = users.order_by("email")[: limit + 1]
    url = reverse("admin:accounts_user_changelist")
    yield cut(_("People"), "person", [_hit(user) for user in found], limit, f"{url}?q={query.quoted}")


def _hit(user: User) -> Hit:
    parts = [user.email, _("staff") if user.is_staff else "", "" if user.is_active else _("inactive")]
    return Hit(
        title=user.display_name or user.email,
        detail=str(joined(filter(None, parts))),
        url=reverse("admin:accounts_user_change", args=[user.pk]),
    )
