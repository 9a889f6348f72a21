"""Who acts on releases, and what they may do: a person of the staff, an API token, ADMIN_API_KEY or a command."""

import getpass
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from config.errors import ApiError, ErrorCode
from updates.models import Ability, ApiToken, BundleType, ReleaseEvent

ActorKind = ReleaseEvent.ActorKind

PERMISSIONS: Final[dict[str, str]] = {
    Ability.READ: "updates.view_bundlerelease",
    Ability.UPLOAD: "updates.add_bundlerelease",
    Ability.PUBLISH: "updates.publish_bundlerelease",
}
"""Django's permission that gives a person an ability."""

_LACKS: Final = {
    Ability.READ: _("{name} may not read releases."),
    Ability.UPLOAD: _("{name} may not upload releases."),
    Ability.PUBLISH: _("{name} may not publish releases."),
}


class InScope(Protocol):
    """Anything that belongs to a scope: a release, or one that is about to be made."""

    @property
    def bundle_type(self) -> str: ...
    @property
    def scope_id(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Principal:
    """Who acts. `name` is what the audit shows; `user` is the person behind it, if there is one."""

    kind: str
    name: str
    user: User | None = None
    token: ApiToken | None = None

    def may(self, ability: str) -> bool:
        """Say whether this one has the ability at all, whatever the scope."""
        if self.token is not None and ability not in self.token.abilities:
            return False
        if self.kind in (ActorKind.USER, ActorKind.TOKEN):
            return self.user is not None and self.user.is_staff and self.user.has_perm(PERMISSIONS[ability])
        return True

    def covers(self, bundle_type: str, scope_id: str) -> bool:
        """Say whether a scope is within the bounds of this one's token."""
        token = self.token
        if token is None:
            return True
        of_type = not token.bundle_types or bundle_type in token.bundle_types
        of_course = token.course_id is None or (
            bundle_type == BundleType.CHAPTER and scope_id.lower().startswith(f"{token.course_id}/")
        )
        return of_type and of_course

    def require(self, ability: str, targets: Iterable[InScope] = ()) -> None:
        """Refuse an act that this one may not do on all of the targets.

        Raises:
            ApiError: FORBIDDEN, and why.
        """
        if not self.may(ability):
            raise ApiError(ErrorCode.FORBIDDEN, format_lazy(_LACKS[Ability(ability)], name=self.name))
        for target in targets:
            if not self.covers(target.bundle_type, target.scope_id):
                scope = f"{target.bundle_type}/{target.scope_id}"
                text = format_lazy(_("{name} is not for {scope}."), name=self.name, scope=scope)
                raise ApiError(ErrorCode.FORBIDDEN, text)


ADMIN_KEY: Final = Principal(ActorKind.ADMIN_KEY, "ADMIN_API_KEY")


def person(user: User) -> Principal:
    return Principal(ActorKind.USER, user.email, user)


def pipeline(token: ApiToken) -> Principal:
    return Principal(ActorKind.TOKEN, token.name, token.created_by, token)


def command(name: str) -> Principal:
    """A command on the server, named with the account of the operating system that runs it."""
    try:
        account = getpass.getuser()
    except (KeyError, OSError):  # in a container the user id may have no name
        account = "unknown"
    return Principal(ActorKind.COMMAND, f"manage.py {name} ({account})")
