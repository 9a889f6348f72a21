"""Which artifacts a learner may read, by the names that clients have for them."""

import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from django.conf import settings

from config.errors import ApiError, ErrorCode
from storage.access import ReadableArtifact, get_artifact_access
from storage.keys import folder_of

_BUNDLE_NAME: Final = "bundle.tar.gz"
"""What clients call the file in a folder that they ask for, whatever its key is."""


class ReadableArtifacts:
    """The artifacts of one learner, found by key, by alias and by every folder above these.

    Names are compared as wholes, so nothing that isn't in the list can be reached by one.
    """

    def __init__(self, artifacts: Sequence[ReadableArtifact]) -> None:
        self.keys: list[str] = list(dict.fromkeys(artifact.key for artifact in artifacts))
        self._by_file: dict[str, str] = {}
        self._by_folder: dict[str, list[str]] = defaultdict(list)
        for artifact in artifacts:
            self._add(artifact)

    def _add(self, artifact: ReadableArtifact) -> None:
        key = artifact.key
        self._by_file[key] = key
        for alias in artifact.aliases:
            for name in (_BUNDLE_NAME, key.rpartition("/")[2]):
                self._by_file.setdefault(alias + name, key)
        for path in (key, *(alias + _BUNDLE_NAME for alias in artifact.aliases)):
            for folder in _folders_above(path):
                self._by_folder[folder].append(key)

    def find_key(self, name: str) -> str:
        """Return the key that a client's name of one artifact stands for.

        Raises:
            ApiError: ARTIFACT_ACCESS_DENIED.
        """
        key = self._by_file.get(_path_in_bucket(name))
        if key is None:
            raise ApiError(ErrorCode.ARTIFACT_ACCESS_DENIED)
        return key

    def find_prefixes(self, names: Sequence[str]) -> dict[str, str]:
        """Return key → real prefix of all that clients' prefixes cover, the most important first.

        The real prefix is the key's folder, or the key itself where just this file is asked for.

        Raises:
            ApiError: ARTIFACT_ACCESS_DENIED when a prefix covers nothing that the learner may read.
        """
        found: dict[str, str] = {}
        for name in names:
            for key, prefix in self._covered_by(_path_in_bucket(name)).items():
                # A key lies below its folder: of the two, the folder is the one that was asked for at some point.
                if key not in found or found[key] == key:
                    found[key] = prefix
        return {key: found[key] for key in self.keys if key in found}

    def _covered_by(self, path: str) -> dict[str, str]:
        if path in self._by_file:
            return {self._by_file[path]: self._by_file[path]}
        keys = self._by_folder.get(path.removesuffix("/"))
        if not keys:
            raise ApiError(ErrorCode.ARTIFACT_ACCESS_DENIED)
        return {key: folder_of(key) for key in keys}


def readable_artifacts(*, user_id: uuid.UUID) -> ReadableArtifacts:
    """Ask the room above which artifacts this learner may read."""
    return ReadableArtifacts(get_artifact_access().readable_artifacts(user_id=user_id))


def _folders_above(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _path_in_bucket(name: str) -> str:
    """Take `oss://bucket/` away from a name.

    Raises:
        ApiError: ARTIFACT_ACCESS_DENIED for another bucket, and for `..` wherever it stands.
    """
    scheme, separator, rest = name.partition("://")
    path = name
    if separator:
        bucket, _slash, path = rest.partition("/")
        if scheme.lower() != "oss" or not bucket or bucket != settings.OSS_BUCKET_NAME:
            raise ApiError(ErrorCode.ARTIFACT_ACCESS_DENIED)
    if ".." in path.split("/"):
        raise ApiError(ErrorCode.ARTIFACT_ACCESS_DENIED)
    return path
