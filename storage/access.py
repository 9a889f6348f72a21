"""What storage asks the rooms above it: which artifacts may this learner read?"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from django.conf import settings
from django.utils.module_loading import import_string


@dataclass(frozen=True, slots=True)
class ReadableArtifact:
    """One artifact that a learner may read.

    `key` is its object key in the store. `aliases` are the folder prefixes under which clients ask for it, each
    ending in `/` (see the wire contract: `bundles/{bundle_type}/{scope_id}/{version}/`).
    """

    key: str
    aliases: tuple[str, ...] = ()


class ArtifactAccess(Protocol):
    """Implemented where releases are known; named by the setting ARTIFACT_ACCESS."""

    def readable_artifacts(self, *, user_id: uuid.UUID) -> Sequence[ReadableArtifact]:
        """Return every artifact in the store that this learner may read, the most important first."""
        ...


def get_artifact_access() -> ArtifactAccess:
    """Load the implementation that the settings name."""
    return cast(ArtifactAccess, import_string(settings.ARTIFACT_ACCESS)())
