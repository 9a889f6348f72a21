"""`manage.py publish_bundle`: from an archive or a folder to a release that devices get, in one step."""

import hashlib
import os
import tempfile
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from config import limits
from config.errors import ApiError
from config.terminal import HelpFormatter, Progress, printable
from updates.bundles.base import Bundle
from updates.bundles.build import build_bundle
from updates.bundles.sources import source_bytes
from updates.management import terminal
from updates.models import FIXED_SCOPES, BundleRelease, BundleType
from updates.principals import Principal, command
from updates.selectors import find_release
from updates.services.drafts import OPTION_NAMES, Draft, apply_options, options_beside
from updates.services.publication import ensure_published
from updates.services.uploads import upload_draft

_BLOCK_BYTES: Final = 1024 * 1024
_NO_DATE: Final = datetime(1980, 1, 1, tzinfo=UTC)  # the earliest that every archive format can hold
_OPTIONS: Final = {
    "scope_id": "--scope",
    "version": "--version",
    "min_desktop_version": "--min-desktop",
    "min_sidecar_version": "--min-sidecar",
    "required_experts": "--expert",
}
"""The options whose values the model checks."""
_HELP: Final = """\
Check an archive, or build one from a content folder, store it, and publish it.

From a folder the same files give the same archive, byte for byte: its manifest is dated by the environment
variable SOURCE_DATE_EPOCH (seconds since 1970, see reproducible-builds.org), or else with 1980-01-01. Left out
are .git, __pycache__, .DS_Store and ._*; a bundle.manifest.json in the folder gives the title, the experts and the
minimum versions that the options don't.

The same command again changes nothing and succeeds. What was withdrawn is not published again by it:
`manage.py releases publish` does that. To publish a chapter together with its experts, make each with --draft,
and then publish the drafts in one act: `manage.py releases publish ID ID ...`."""


class Command(BaseCommand):
    help = _HELP

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        # Django's own --version, of Django, gives way to the release's.
        kwargs |= {"formatter_class": HelpFormatter, "conflict_handler": "resolve"}
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("path", metavar="PATH", type=Path, help="a .tar.gz archive, or a folder")
        parser.add_argument("--type", required=True, dest="bundle_type", choices=BundleType.values)
        parser.add_argument(
            "--scope",
            default="",
            help="an expert's id, or COURSE/CHAPTER with the course's code or id and the chapter's code; the others "
            "have only one",
        )
        parser.add_argument("--version", required=True, dest="release_version", help="a semantic version: 1.2.0")
        parser.add_argument(
            "--rollout",
            type=terminal.percent,
            dest="rollout_basis_points",
            metavar="PERCENT",
            help="the share of the devices that get it, with at most two decimals; default: 100",
        )
        parser.add_argument(
            "--at",
            type=terminal.moment,
            dest="publish_at",
            metavar="TIME",
            help="offer it from this time on; with its offset: 2026-12-01T06:00:00+08:00",
        )
        parser.add_argument("--min-desktop", dest="min_desktop_version", metavar="VERSION", help="of the desktop app")
        parser.add_argument("--min-sidecar", dest="min_sidecar_version", metavar="VERSION", help="of the sidecar")
        parser.add_argument(
            "--strict",
            action="store_const",
            const=True,
            dest="strict_versions",
            help="a device of unknown version doesn't get it",
        )
        parser.add_argument(
            "--mandatory",
            action="store_const",
            const=True,
            dest="is_mandatory",
            help="devices have to install it; default: not",
        )
        parser.add_argument(
            "--expert",
            action="append",
            dest="required_experts",
            metavar="ID",
            help="an expert that it needs, in place of those of the manifest; may be repeated",
        )
        parser.add_argument("--title", default="", help="of a chapter that is built from a folder")
        parser.add_argument("--draft", action="store_true", help="make the draft only")

    def handle(self, *args: Any, **options: Any) -> None:
        with terminal.telling_errors():
            principal = command("publish_bundle")
            progress = Progress(self, options["verbosity"])
            scope_id = _scope(options["bundle_type"], options["scope"])
            _check(scope_id, options)
            asked = {name: options[name] for name in OPTION_NAMES if options[name] is not None}
            with _bundle(scope_id, options, progress) as bundle:
                draft = _upload(bundle, scope_id, options, asked, principal, progress)
            self._report(draft, asked, principal, only_draft=options["draft"])

    def _report(self, draft: Draft, asked: Mapping[str, Any], principal: Principal, *, only_draft: bool) -> None:
        release, was = draft.release, draft.release.state
        terminal.warn(self, draft.warnings)
        if was == BundleRelease.State.DRAFT and not draft.is_new:
            apply_options(release=release, stated=asked, principal=principal)
        if not only_draft:
            release = self._publish(release, principal)
        there_already = "" if draft.is_new or release.state != was else "There already: "
        self.stdout.write(self.style.SUCCESS(there_already + terminal.sentence(release)))
        size = f"{release.size_bytes:,} bytes ({terminal.contents(release)} unpacked)"
        self.stdout.write(f"  sha256  {release.sha256}\n  size    {size}\n  id      {release.pk}")

    def _publish(self, release: BundleRelease, principal: Principal) -> BundleRelease:
        try:
            act = ensure_published(release=release, principal=principal)
        except ApiError as error:
            if release.state == BundleRelease.State.DRAFT:
                error.message = f"{error.sentence} The draft is kept, as {release.pk}."
            raise
        terminal.warn(self, act.notices)
        return act.releases[0]


def _scope(bundle_type: str, scope: str) -> str:
    if not scope and bundle_type not in FIXED_SCOPES:
        raise CommandError(f"--scope is needed for {bundle_type}.")
    return terminal.resolve_scope(bundle_type, scope or FIXED_SCOPES[bundle_type])


def _check(scope_id: str, options: Mapping[str, Any]) -> None:
    """Refuse options before anything is built: a large folder takes minutes."""
    path: Path = options["path"]
    if options["title"] and (options["bundle_type"] != BundleType.CHAPTER or not path.is_dir()):
        raise CommandError("--title is for a chapter that is built from a folder.")
    release = BundleRelease(
        bundle_type=options["bundle_type"],
        scope_id=scope_id,
        version=options["release_version"],
        min_desktop_version=options["min_desktop_version"] or "",
        min_sidecar_version=options["min_sidecar_version"] or "",
        required_experts=options["required_experts"] or [],
    )
    try:
        release.clean_fields(exclude={"sha256", "size_bytes", "created_by"})
        if release.bundle_type != BundleType.CHAPTER:
            release.clean()
    except ValidationError as error:
        faults = [f"{_OPTIONS[name]}: {text}" for name, texts in error.message_dict.items() for text in texts]
        raise CommandError("\n  ".join(map(printable, faults))) from error


# --- The archive --------------------------------------------------------------------------------------------------


@contextmanager
def _bundle(scope_id: str, options: Mapping[str, Any], progress: Progress) -> Iterator[Bundle]:
    path: Path = options["path"]
    if not path.is_dir():
        with path.open("rb") as archive, tempfile.TemporaryFile() as copy:
            yield _copy(archive, path.stat().st_size, copy, progress)
        return
    with ExitStack() as stack:
        with progress.stage("Building", source_bytes(path)) as advance:
            bundle = stack.enter_context(
                build_bundle(
                    source=path,
                    bundle_type=options["bundle_type"],
                    scope_id=scope_id,
                    version=options["release_version"],
                    created_at=_build_date(),
                    title=options["title"],
                    required_experts=options["required_experts"],
                    progress=advance,
                )
            )
        yield bundle


def _build_date() -> datetime:
    """Return the date of the sources: https://reproducible-builds.org/specs/source-date-epoch/."""
    seconds = os.environ.get("SOURCE_DATE_EPOCH", "")
    try:
        return datetime.fromtimestamp(int(seconds), UTC) if seconds else _NO_DATE
    except (ValueError, OverflowError, OSError) as error:
        raise CommandError("SOURCE_DATE_EPOCH must be a whole number of seconds since 1970.") from error


def _copy(archive: IO[bytes], size_bytes: int, copy: IO[bytes], progress: Progress) -> Bundle:
    """Copy the archive to where nobody else writes: what is checked has to be what is stored."""
    digest, size = hashlib.sha256(), 0
    with progress.stage("Reading", size_bytes) as advance:
        while block := archive.read(_BLOCK_BYTES):
            size += len(block)
            if size > limits.BUNDLE_ARCHIVE_MAX_BYTES:
                raise CommandError(f"The archive has more than {limits.BUNDLE_ARCHIVE_MAX_BYTES:,} bytes.")
            digest.update(block)
            copy.write(block)
            advance(len(block))
    return Bundle(copy, digest.hexdigest(), size, {})


# --- The draft ----------------------------------------------------------------------------------------------------


def _upload(
    bundle: Bundle,
    scope_id: str,
    options: Mapping[str, Any],
    asked: Mapping[str, Any],
    principal: Principal,
    progress: Progress,
) -> Draft:
    identity = {
        "bundle_type": options["bundle_type"],
        "scope_id": scope_id,
        "version": options["release_version"],
    }
    with progress.reading(bundle.file, bundle.size_bytes, "Checking", "Storing") as file:
        return upload_draft(
            **identity,
            file=file,
            sha256=bundle.sha256,
            principal=principal,
            options=options_beside(find_release(**identity), asked, defaults={"is_mandatory": False}),
        )
