"""Reads of releases within the bounds of whoever asks."""

from collections.abc import Sequence

from config.errors import ApiError, ErrorCode, FieldError
from courses.selectors import canonical_uuid
from updates.models import BundleRelease
from updates.principals import Principal


def get_release(*, principal: Principal, release_id: str) -> BundleRelease:
    """Return a release by its id. One query.

    Raises:
        ApiError: NOT_FOUND, also for one outside of the token's bounds: ids can't be probed.
    """
    parsed = canonical_uuid(release_id)
    release = parsed and BundleRelease.objects.filter(pk=parsed).first()
    if not release or not principal.covers(release.bundle_type, release.scope_id):
        raise ApiError(ErrorCode.NOT_FOUND, "There is no such release.")
    return release


def get_releases(*, principal: Principal, release_ids: Sequence[object], field: str) -> list[BundleRelease]:
    """Return the releases that a request names in a field, in its order. One query each.

    Raises:
        ApiError: VALIDATION_ERROR for one that isn't there, or that is outside of the token's bounds.
    """
    found = []
    for index, release_id in enumerate(release_ids):
        try:
            found.append(get_release(principal=principal, release_id=str(release_id)))
        except ApiError as error:
            details: list[FieldError] = [{"field": f"{field}.{index}", "message": error.message}]
            raise ApiError(ErrorCode.VALIDATION_ERROR, f"{field}: {error.message}", details) from error
    return found
