"""What other rooms may ask of the artifact store, wherever it lies."""

from collections.abc import Iterator
from datetime import datetime
from typing import IO, cast

from django.core.files.base import File
from django.core.files.storage import storages

from storage.base import ArtifactStorage, StoredArtifact
from storage.keys import check_key


def artifact_storage() -> ArtifactStorage:
    """Return the store that the settings name: a local folder, or OSS."""
    return cast(ArtifactStorage, storages["artifacts"])


def artifact_url(*, key: str, base_url: str, expires_seconds: int | None = None) -> str:
    """Return an absolute http(s) URL that a plain GET without an Authorization header downloads.

    Makes no network call and looks at no file.

    Args:
        key: of an artifact in the store.
        base_url: of this server, without a final slash (`config.urlbase.public_base_url`); for the local store.
        expires_seconds: how long the URL is valid. Default: at least OSS_DOWNLOAD_URL_EXPIRE_SECONDS, rounded up so
            that the URL stays the same for a while.
    """
    return artifact_storage().download_url(check_key(key), base_url=base_url, expires_seconds=expires_seconds)


def store_artifact(*, key: str, content: IO[bytes]) -> None:
    """Store `content`, read from its beginning; it must be seekable. The same bytes again are no error.

    On return the bytes are durable. A process killed on the way leaves nothing under the key. After a failure, storing
    the same bytes again goes on where the store can: OSS keeps the parts of a large upload.

    Raises:
        ApiError: BUNDLE_RELEASE_CONFLICT when other bytes lie under the key; STORAGE_UNAVAILABLE.
        SuspiciousFileOperation: the key is none.
    """
    artifact_storage().save(check_key(key), File(content))


def artifact_exists(*, key: str) -> bool:
    """Say whether bytes lie under the key."""
    return artifact_storage().exists(check_key(key))


def artifact_size(*, key: str) -> int:
    """Return the artifact's size in bytes.

    Raises:
        FileNotFoundError: there is none.
    """
    return artifact_storage().size(check_key(key))


def open_artifact(*, key: str) -> IO[bytes]:
    """Open the artifact for reading from its beginning to its end; not necessarily seekable. Close it.

    Raises:
        FileNotFoundError: there is none.
        ApiError: STORAGE_UNAVAILABLE.
    """
    return cast(IO[bytes], artifact_storage().open(check_key(key)))


def delete_artifact(*, key: str) -> None:
    """Delete the artifact; none is no error. Only for what was never published: published bytes stay for ever."""
    artifact_storage().delete(check_key(key))


def list_artifacts(*, prefix: str) -> Iterator[StoredArtifact]:
    """Yield what lies under keys that begin with `prefix`, in no certain order, without holding it all in memory.

    What is stored or deleted meanwhile may be among it or not.

    Raises:
        ApiError: STORAGE_UNAVAILABLE, also in the middle of it.
    """
    return artifact_storage().list_artifacts(prefix)


def abort_stale_uploads(*, older_than: datetime) -> int:
    """Delete what unfinished uploads that began before a time have left; return how many there were.

    OSS: parts of large objects below OSS_BUNDLE_PREFIX. Local: files that were never linked to their key. An upload
    that still goes on begins anew in OSS, and fails locally.

    Raises:
        ApiError: STORAGE_UNAVAILABLE.
    """
    return artifact_storage().abort_stale_uploads(older_than)
