"""The audit: what was done to releases, by whom, and what was refused."""

import logging
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

from django_stubs_ext import StrOrPromise

from config.errors import ApiError, ErrorCode, in_english
from updates.models import BundleRelease, ReleaseEvent
from updates.principals import Principal

logger = logging.getLogger(__name__)

Action = ReleaseEvent.Action

_RECORDED_REFUSALS: Final = (
    ErrorCode.BUNDLE_RELEASE_CONFLICT,
    ErrorCode.BUNDLE_INVALID,
    ErrorCode.STORAGE_UNAVAILABLE,
    ErrorCode.ARTIFACT_UNREACHABLE,
)
"""What somebody may ask about the next morning. A mistyped field is told to the person, and that is all."""


class Named(Protocol):
    """A release, or the identity of one that was not made."""

    @property
    def bundle_type(self) -> str: ...
    @property
    def scope_id(self) -> str: ...
    @property
    def version(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Entry:
    """What happened to one release in an act; `changes` are field → (from, to)."""

    release: BundleRelease
    changes: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)


def record(action: str, entries: Sequence[Entry], principal: Principal, notices: Sequence[StrOrPromise] = ()) -> None:
    """Write the entries of one act, in the caller's transaction; in English, since the audit is one for all."""
    act_id = uuid.uuid4()
    told = list(map(in_english, notices))
    ReleaseEvent.objects.bulk_create(
        _event(
            action,
            act_id,
            entry.release,
            principal,
            release=entry.release,
            notices=told,
            changes={name: [_json(before), _json(after)] for name, (before, after) in entry.changes.items()},
        )
        for entry in entries
    )
    for entry in entries:
        logger.info("%s: %s by %s", entry.release, action, principal.name)


@contextmanager
def recording_refusals(action: str, targets: Sequence[Named], principal: Principal) -> Iterator[None]:
    """Write down what was refused, in a transaction of its own, before the refusal goes on to whoever asked.

    Put it around the act's transaction, not into it: what is written in a transaction that fails is lost.
    """
    try:
        yield
    except ApiError as error:
        if error.code in _RECORDED_REFUSALS:
            _record_refusal(action, targets, principal, error)
        raise


def _record_refusal(action: str, targets: Sequence[Named], principal: Principal, error: ApiError) -> None:
    act_id = uuid.uuid4()
    refusal = in_english(error.sentence)
    ReleaseEvent.objects.bulk_create(
        _event(action, act_id, target, principal, refusal=refusal, release=_stored(target)) for target in targets
    )
    for target in targets:
        known = f"{target.bundle_type}/{target.scope_id} {target.version}"
        name = known if target.bundle_type else "an archive that doesn't say what it is"
        logger.warning("%s: %s refused to %s: %s", name, action, principal.name, refusal)


def _stored(target: Named) -> BundleRelease | None:
    """The release to point at, unless it was never made."""
    return target if isinstance(target, BundleRelease) and not target._state.adding else None


def _event(action: str, act_id: uuid.UUID, target: Named, principal: Principal, **fields: Any) -> ReleaseEvent:
    return ReleaseEvent(
        act_id=act_id,
        bundle_type=target.bundle_type,
        scope_id=target.scope_id,
        version=target.version,
        action=action,
        actor_kind=principal.kind,
        actor_name=principal.name,
        user=principal.user,
        token=principal.token,
        **fields,
    )


def _json(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else str(value) if isinstance(value, uuid.UUID) else value
