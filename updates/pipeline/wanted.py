"""What a request that makes a release wants of it, where the release may be there already."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from config.errors import ApiError, ErrorCode
from updates import audit
from updates.audit import Action
from updates.models import BundleRelease
from updates.pipeline.serializers import WIRE_NAMES, stated_options
from updates.principals import Principal
from updates.selectors import find_release
from updates.services.drafts import Draft, ReleaseOptions, apply_options, options_beside
from updates.services.publication import Terms

State = BundleRelease.State


@dataclass(frozen=True, slots=True)
class Wanted:
    """A release's names, and the options that the request states: what it doesn't state is no wish."""

    identity: dict[str, str]
    stated: dict[str, Any]

    @classmethod
    def by(cls, request_fields: Mapping[str, Any]) -> "Wanted":
        identity = {name: request_fields[name] for name in ("bundle_type", "scope_id", "version")}
        return cls(identity, stated_options(request_fields))

    @property
    def terms(self) -> Terms:
        return Terms(self.stated.get("rollout_basis_points"), self.stated.get("publish_at"))

    def options(self) -> ReleaseOptions:
        """Return the options for a draft: of a release that is there already, what isn't stated stays. One query."""
        return options_beside(find_release(**self.identity), self.stated)

    def apply(self, draft: Draft, principal: Principal) -> Draft:
        """Give a draft the stated options that it has not; what was ever published keeps its own.

        Raises:
            ApiError: FORBIDDEN, VALIDATION_ERROR.
        """
        if draft.release.state != State.DRAFT:
            return draft
        try:
            apply_options(release=draft.release, stated=self.stated, principal=principal)
        except ApiError as error:
            changed = BundleRelease.objects.filter(pk=draft.release.pk).exclude(state=State.DRAFT).first()
            if error.code is not ErrorCode.BUNDLE_RELEASE_CONFLICT or changed is None:
                raise
            return replace(draft, release=changed)  # another run of the same pipeline was faster
        return draft

    def refuse_other_terms(self, release: BundleRelease, principal: Principal) -> None:
        """Refuse to call a publication on other terms the one that was wanted.

        A rollout that is wider by now is what widening is for, and no reason to fail a run that is repeated.

        Raises:
            ApiError: BUNDLE_RELEASE_CONFLICT, with what differs.
        """
        different = [name for name, value in self.stated.items() if not _has(release, name, value)]
        if not different:
            return
        named = ", ".join(f"{WIRE_NAMES[name]} ({_shown(release, name)})" for name in different)
        ways_out = [_WIDEN] if "rollout_basis_points" in different else []
        ways_out += [_OTHER_VERSION] if different != ["rollout_basis_points"] else []
        with audit.recording_refusals(Action.PUBLISHED, [release], principal):
            raise ApiError(
                ErrorCode.BUNDLE_RELEASE_CONFLICT,
                f"The release {release} is published already, and keeps what differs from this request: {named}. "
                + " ".join(ways_out),
            )


_WIDEN: Final = "To offer it to more devices, widen its rollout."
_OTHER_VERSION: Final = "For other options, publish another version."


def _has(release: BundleRelease, name: str, value: Any) -> bool:
    found = getattr(release, name)
    return bool(found >= value if name == "rollout_basis_points" else found == value)


def _shown(release: BundleRelease, name: str) -> str:
    """Write a value as requests have it."""
    value = getattr(release, name)
    if name == "rollout_basis_points":
        return f"{value / 100:g}"
    if name == "publish_at":
        return "none" if value is None else value.isoformat()
    if isinstance(value, bool):
        return str(value).lower()
    return (", ".join(value) if isinstance(value, list) else str(value)) or "none"
