"""Uploads to OSS. A large one goes on where an earlier one of the same bytes broke off, on any machine.

Nothing is remembered here: OSS lists the unfinished uploads of a key, and the MD5 of each part that it has.
"""

import base64
import hashlib
import io
import logging
from collections.abc import Iterator, Set
from datetime import datetime
from functools import partial
from typing import IO, Any, Final

from oss2.exceptions import InconsistentError, NoSuchUpload, OssError
from oss2.models import PartInfo

from config import limits
from storage.base import read_block
from storage.oss_requests import describe, find_meta, pages, request

logger = logging.getLogger(__name__)

_HEADERS: Final = {"Content-Type": "application/octet-stream", "x-oss-forbid-overwrite": "true"}
_ENCRYPTION_HEADER: Final = "x-oss-server-side-encryption"
_FORBIDDEN: Final = 403


def upload(bucket: Any, key: str, source: IO[bytes], size: int) -> bool:
    """Put `size` bytes of `source`, from its beginning, under a key that is free.

    Returns:
        False: something lies there by now, which may be these bytes: an answer can get lost.

    Raises:
        OssError, requests.RequestException: what was sent of a large object stays, for the next upload to go on with.
    """
    try:
        if size > limits.OSS_PART_BYTES:
            return _PartedUpload(bucket, key, source, size).run()
        source.seek(0)
        _send(partial(bucket.put_object, key), read_block(source, size), _HEADERS)
    except OssError as error:
        if error.code != "FileAlreadyExists":
            raise
        return False
    return True


def abort_stale(bucket: Any, prefix: str, older_than: datetime) -> int:
    """Give up uploads below a prefix that began before a time; return how many."""
    stale = (found for found in _unfinished(bucket, prefix) if found.initiation_date < older_than.timestamp())
    return sum(_abort(bucket, found.key, found.upload_id) for found in stale)


class _PartedUpload:
    """An upload whose object appears as a whole, when the last request has named the MD5 of each of its parts.

    So two uploads that send to one id at once can't mix their bytes: OSS refuses a name that isn't the part's.
    """

    def __init__(self, bucket: Any, key: str, source: IO[bytes], size: int) -> None:
        self._bucket = bucket
        self._key = key
        self._source = source
        self._size = size
        self._count = -(-size // limits.OSS_PART_BYTES)
        self._etags: dict[int, str] = {}

    def run(self) -> bool:
        """Return whether the object is there by this upload, not by another one."""
        try:
            self._finish(*(self._find_unfinished() or (self._begin(), frozenset())))
        except OssError as error:
            if not isinstance(error, NoSuchUpload) and error.code != "InvalidPart":
                raise
            logger.warning("Somebody else finished, changed or gave up the upload: %s", describe(error))
            if find_meta(self._bucket, self._key) is not None:
                return False
            self._finish(self._begin(), frozenset())
        return True

    def _find_unfinished(self) -> tuple[str, Set[int]] | None:
        """Return id and parts of the newest upload that has only parts of ours.

        Whoever may not list them still uploads, only from the beginning each time.
        """
        try:
            found = [upload for upload in _unfinished(self._bucket, self._key) if upload.key == self._key]
            found.sort(key=lambda upload: upload.initiation_date, reverse=True)
            for candidate in found[: limits.OSS_RESUMED_UPLOADS_MAX]:
                if present := self._matching_parts(candidate.upload_id):
                    logger.info("An upload goes on: %d of its %d parts are there.", len(present), self._count)
                    return candidate.upload_id, present
        except OssError as error:
            if error.status != _FORBIDDEN:
                raise
            logger.warning("Uploads can't go on where they broke off: %s", describe(error))
        return None

    def _matching_parts(self, upload_id: str) -> Set[int]:
        """Return the numbers of an upload's parts; none when one of them isn't ours, or it ended meanwhile."""
        listing = partial(self._bucket.list_parts, self._key, upload_id, max_parts=limits.OSS_PAGE_ENTRIES)
        numbers = set()
        try:
            for page in pages(listing, {"marker": "next_marker"}):
                for part in page.parts:
                    if not self._is_ours(part):
                        return frozenset()
                    numbers.add(part.part_number)
        except NoSuchUpload:
            return frozenset()
        return numbers

    def _is_ours(self, part: Any) -> bool:
        if not 1 <= part.part_number <= self._count:
            return False
        if part.part_number not in self._etags:
            self._etags[part.part_number] = _etag(self._read(part.part_number))
        return bool(part.etag.upper() == self._etags[part.part_number])

    def _begin(self) -> str:
        return str(request(partial(self._bucket.init_multipart_upload, self._key, headers=_HEADERS)).upload_id)

    def _finish(self, upload_id: str, present: Set[int]) -> None:
        parts = [
            PartInfo(number, self._etags[number] if number in present else self._send_part(upload_id, number))
            for number in range(1, self._count + 1)
        ]
        complete = partial(self._bucket.complete_multipart_upload, self._key, upload_id, parts, headers=_HEADERS)
        try:
            request(complete)
        except OssError as error:
            if error.code == "FileAlreadyExists":
                _give_up(self._bucket, self._key, upload_id)
            raise

    def _send_part(self, upload_id: str, number: int) -> str:
        return _send(partial(self._bucket.upload_part, self._key, upload_id, number), self._read(number), {})

    def _length(self, number: int) -> int:
        return min(limits.OSS_PART_BYTES, self._size - (number - 1) * limits.OSS_PART_BYTES)

    def _read(self, number: int) -> bytes:
        self._source.seek((number - 1) * limits.OSS_PART_BYTES)
        return read_block(self._source, self._length(number))


def _send(put: Any, data: bytes, headers: dict[str, str]) -> str:
    """Send bytes by a method of the bucket; return the ETag that OSS gives them.

    OSS checks them by Content-MD5, and we its answer: the ETag is their MD5, unless the bucket encrypts.
    """
    headers = headers | {"Content-MD5": base64.b64encode(_md5(data)).decode()}

    def attempt() -> Any:
        # A file, not bytes: these would have to be taken within OSS_CONNECT_SECONDS as a whole, not block by block.
        result = put(io.BytesIO(data), headers=headers)
        if _ENCRYPTION_HEADER not in result.headers and (result.etag or "").upper() != _etag(data):
            raise InconsistentError("OSS stored other bytes than were sent.", result.request_id)
        return result

    return str(request(attempt).etag)


def _etag(data: bytes) -> str:
    return _md5(data).hex().upper()


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _unfinished(bucket: Any, prefix: str) -> Iterator[Any]:
    listing = partial(bucket.list_multipart_uploads, prefix=prefix, max_uploads=limits.OSS_PAGE_ENTRIES)
    markers = {"key_marker": "next_key_marker", "upload_id_marker": "next_upload_id_marker"}
    for page in pages(listing, markers):
        yield from page.upload_list


def _abort(bucket: Any, key: str, upload_id: str) -> bool:
    """Give up an upload with its parts; return False when it ended meanwhile."""
    try:
        request(partial(bucket.abort_multipart_upload, key, upload_id))
    except NoSuchUpload:
        return False
    return True


def _give_up(bucket: Any, key: str, upload_id: str) -> None:
    """Give up an upload that can't be finished any more. Where that fails, `abort_stale` does it later."""
    try:
        _abort(bucket, key, upload_id)
    except OssError as error:
        logger.warning("The parts of an upload stay in the bucket: %s", describe(error))
