"""An implementation of ArtifactAccess for the tests: what a learner may read is set by hand."""

import uuid
from collections.abc import Sequence
from typing import ClassVar

from storage.access import ReadableArtifact


class HandmadeAccess:
    readable: ClassVar[dict[uuid.UUID, list[ReadableArtifact]]] = {}

    def readable_artifacts(self, *, user_id: uuid.UUID) -> Sequence[ReadableArtifact]:
        return self.readable.get(user_id, [])


class NoAccess:
    """Lacks the method."""
