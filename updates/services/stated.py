"""What an archive says that it is, and whether that holds."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import IO, Any, Final

from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from config.errors import ApiError, ErrorCode, FieldError, invalid_fields, joined
from courses.models import Chapter
from updates import audit
from updates.audit import Action
from updates.bundles.base import BundleError, Fault, Inspection, excerpt
from updates.bundles.inspect import Archive, compare_archive, inspect_bundle
from updates.bundles.manifest import MANIFEST_NAME
from updates.models import Ability, BundleRelease, BundleType, chapter_scope_id
from updates.principals import Principal
from updates.selectors import find_chapter


@dataclass(frozen=True, slots=True)
class Identity:
    """What a release is of, and which version: no two have the same."""

    bundle_type: str
    scope_id: str
    version: str

    @property
    def fields(self) -> dict[str, str]:
        return {"bundle_type": self.bundle_type, "scope_id": self.scope_id, "version": self.version}

    @property
    def cut(self) -> "Identity":
        """The same, no longer than the audit has room for: a manifest may state anything."""
        return Identity(**{name: value[: _most_characters(name)] for name, value in self.fields.items()})


def _most_characters(name: str) -> int | None:
    most: int | None = getattr(BundleRelease._meta.get_field(name), "max_length", None)
    return most


UNKNOWN: Final = Identity("", "", "")
"""Of an archive that doesn't say what it is; the audit's entry of its refusal has it."""


def draft_as_stated(
    *,
    read: Callable[[], Archive],
    make: Callable[[Identity], BundleRelease],
    chapter: Chapter | None,
    principal: Principal,
) -> tuple[BundleRelease, Inspection]:
    """Make the unsaved draft of an archive as its manifest states it, and compare the two.

    A manifest may name the chapter alone, or a course that is elsewhere or of another semester: then the chapter has
    to be given. What else contradicts the manifest is refused.

    Args:
        read: where the archive comes from. Nobody may make it read who may not upload.
        make: the draft of what the manifest states.
        chapter: that the archive is for, in place of the one that the manifest names.

    Raises:
        ApiError: FORBIDDEN; BUNDLE_INVALID, also for a manifest that doesn't say what it is; VALIDATION_ERROR for
            `chapter` when it is needed, or is given for what is no chapter's; what `read` and `make` raise.
    """
    principal.require(Ability.UPLOAD)
    with audit.recording_refusals(Action.CREATED, [UNKNOWN], principal), _telling_faults():
        archive = read()
        stated = _identity_of(archive.manifest)
    identity = _with_chapter(stated, chapter)
    with audit.recording_refusals(Action.CREATED, [identity.cut], principal):
        draft = _made_by(make, identity)
    with audit.recording_refusals(Action.CREATED, [draft], principal), _telling_faults():
        return draft, compare_archive(archive, **identity.fields)


def inspect(file: IO[bytes], release: BundleRelease, *, sha256: str | None = None) -> Inspection:
    """Check an archive against the release that it is for.

    Raises:
        ApiError: BUNDLE_INVALID, with each fault and the file that it is about.
    """
    with _telling_faults():
        return inspect_bundle(
            file,
            bundle_type=release.bundle_type,
            scope_id=release.scope_id,
            version=release.version,
            sha256=sha256,
        )


@contextmanager
def _telling_faults() -> Iterator[None]:
    try:
        yield
    except BundleError as error:
        raise _invalid_bundle(error.faults) from error


def _invalid_bundle(faults: Sequence[Fault]) -> ApiError:
    details: list[FieldError] = [{"field": fault.path or "archive", "message": fault.reason} for fault in faults]
    return ApiError(ErrorCode.BUNDLE_INVALID, faults[0].sentence, details)


# --- What a manifest says -----------------------------------------------------------------------------------------


def _identity_of(manifest: Mapping[str, Any]) -> Identity:
    """Return what a manifest says that it is, as it says it.

    Raises:
        BundleError: it doesn't.
    """
    stated = {name: manifest.get(name) for name in ("bundle_type", "scope_id", "version")}
    faults = [
        Fault(MANIFEST_NAME, format_lazy(_("{name} is missing."), name=name))
        for name, value in stated.items()
        if not isinstance(value, str) or not value
    ]
    if faults:
        raise BundleError(*faults)
    identity = Identity(**{name: str(value) for name, value in stated.items()})
    if identity.bundle_type not in BundleType.values:
        text = format_lazy(
            _("bundle_type is {stated}, but must be one of {types}."),
            stated=excerpt(repr(identity.bundle_type)),
            types=joined(BundleType.values),
        )
        raise BundleError(Fault(MANIFEST_NAME, text))
    return identity


def _with_chapter(stated: Identity, chapter: Chapter | None) -> Identity:
    """Return the identity with a chapter's scope as releases have it: by the course's id.

    Raises:
        ApiError: VALIDATION_ERROR.
    """
    if stated.bundle_type != BundleType.CHAPTER:
        if chapter is not None:
            raise invalid_fields([{"field": "chapter", "message": _("Only a chapter's bundle has a chapter.")}])
        return stated
    if chapter is not None and chapter.chapter_code != stated.scope_id.rpartition("/")[2]:
        message = format_lazy(_("The archive is for {stated}, not for this chapter."), stated=excerpt(stated.scope_id))
        raise invalid_fields([{"field": "chapter", "message": message}])
    chapter = chapter or find_chapter(stated.scope_id)
    if chapter is None:
        text = _("The archive is for {stated}, which names no chapter of a course here. Choose the chapter.")
        message = format_lazy(text, stated=excerpt(stated.scope_id))
        raise invalid_fields([{"field": "chapter", "message": message}])
    return replace(stated, scope_id=chapter_scope_id(chapter.course_id, chapter.chapter_code))


def _made_by(make: Callable[[Identity], BundleRelease], identity: Identity) -> BundleRelease:
    """Make the unsaved draft; what is wrong with its identity is a fault of the manifest, and nobody mistyped it."""
    try:
        return make(identity)
    except ApiError as error:
        if error.code is not ErrorCode.VALIDATION_ERROR:
            raise
        faults = [
            Fault(MANIFEST_NAME, format_lazy("{field}: {message}", **detail))
            for detail in error.details
            if detail["field"] in identity.fields
        ]
        raise (_invalid_bundle(faults) if faults else error) from error
