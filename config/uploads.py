"""Uploads: files that stream to the disk and are hashed on their way, within bounds, from people who may.

Django's own handlers hold small files in memory, and keep large ones under a name that `kill -9` leaves behind.
"""

import hashlib
import logging
import socket
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import IO, Any, Final

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler, SkipFile
from django.http import HttpRequest, QueryDict, UnreadablePostError
from django.http.multipartparser import MultiPartParser
from django.utils.datastructures import MultiValueDict
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from config import limits
from config.errors import ApiError, ErrorCode, invalid_fields
from config.places import GiveBack, Places, busy

logger = logging.getLogger(__name__)

Form = tuple[QueryDict, MultiValueDict[str, UploadedFile[Any]]]

_BLOCK_BYTES: Final = 256 * 1024


def body_max_bytes() -> int:
    """Return the largest body that an upload may have: the archive, and what a form has besides."""
    return limits.BUNDLE_ARCHIVE_MAX_BYTES + limits.UPLOAD_FORM_MAX_BYTES


# --- Places: a learner's check stays answered while staff upload ----------------------------------------------------

_places: Final = Places(max(1, settings.WEB_THREADS // 4))
"""A quarter of this process's threads: downloads may hold half of them, and the rest is for what must not fail."""


@contextmanager
def slow_place(holder: Hashable | None = None) -> Iterator[None]:
    """Hold one of the places of uploads, for other work that takes as long.

    Raises:
        ApiError: SERVICE_UNAVAILABLE at once when none is free, or none for this holder.
    """
    release = _places.take(holder)
    try:
        yield
    finally:
        release()


# --- The pace of a body ---------------------------------------------------------------------------------------------


class _PacedBody:
    """A body that has to arrive at a pace (see `limits.UPLOAD_MAX_SECONDS` and those after it).

    One read may wait for as long as bytes trickle in, so `watched` looks at the pace from another thread.
    """

    def __init__(self, stream: Any, connection: socket.socket | None) -> None:
        self._stream = stream
        self._connection = connection
        self._began = time.monotonic()
        self._received = 0
        self._is_cut = False

    def read(self, size: int = -1) -> bytes:
        try:
            data: bytes = self._stream.read(size)
        except (UnreadablePostError, OSError) as error:
            if self._is_too_slow():
                raise self._refusal() from error
            raise
        self._received += len(data)
        if self._is_too_slow():
            raise self._refusal()
        return data

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Read no more from the connection once the body is too slow; the answer still goes out."""
        done = threading.Event()
        watcher = threading.Thread(target=self._watch, args=[done], name="upload-pace", daemon=True)
        if self._connection is not None:
            watcher.start()
        try:
            yield
        finally:
            done.set()

    def _watch(self, done: threading.Event) -> None:
        assert self._connection is not None
        while not done.wait(limits.UPLOAD_WATCH_SECONDS):
            if self._is_too_slow():
                self._is_cut = True
                with suppress(OSError):
                    self._connection.shutdown(socket.SHUT_RD)
                return

    def _is_too_slow(self) -> bool:
        """Once cut it stays so. What a read has until now isn't known, and may be a whole block."""
        seconds = time.monotonic() - self._began
        late = seconds > limits.UPLOAD_MAX_SECONDS
        missing = seconds * limits.UPLOAD_MIN_BYTES_PER_SECOND - self._received
        return self._is_cut or late or (seconds > limits.UPLOAD_GRACE_SECONDS and missing > _BLOCK_BYTES)

    def _refusal(self) -> ApiError:
        text = _("The upload is too slow: it needs {bytes} bytes per second on average, and at most {minutes} minutes.")
        values = {
            "bytes": f"{limits.UPLOAD_MIN_BYTES_PER_SECOND:,}",
            "minutes": f"{limits.UPLOAD_MAX_SECONDS / 60:g}",
        }
        return busy(format_lazy(text, **values))


# --- One uploaded file ----------------------------------------------------------------------------------------------


class StreamedUpload(UploadedFile[bytes]):
    """An uploaded file, on disk without a name: whatever ends the process, nothing of it stays.

    Closing it, which the end of the request does, frees the disk and gives back the upload's place.
    """

    sha256: str = ""
    """Of the bytes, 64 lower-case hexadecimal digits."""
    is_too_large: bool = False
    """It is larger than an archive may be; `size` says how large, and its content was dropped."""

    def __init__(self, name: str, content_type: str, release: GiveBack) -> None:
        self._disk: IO[bytes] = tempfile.TemporaryFile(  # noqa: SIM115  closed by _end
            dir=settings.FILE_UPLOAD_TEMP_DIR
        )
        super().__init__(self._disk, name, content_type, size=0)
        self._digest = hashlib.sha256()
        self._end = weakref.finalize(self, _end_upload, self._disk, release)

    def append(self, block: bytes) -> None:
        self.size = (self.size or 0) + len(block)
        if self.size > limits.BUNDLE_ARCHIVE_MAX_BYTES:
            self._drop_content()
            return
        self._digest.update(block)
        self._disk.write(block)

    def finish(self) -> None:
        self.sha256 = self._digest.hexdigest()
        self._disk.seek(0)

    def close(self) -> None:
        self._end()

    def _drop_content(self) -> None:
        if not self.is_too_large:
            self.is_too_large = True
            self._disk.seek(0)
            self._disk.truncate()


def _end_upload(file: IO[bytes], release: GiveBack) -> None:
    try:
        file.close()
    except OSError:
        logger.warning("An upload that ends could not be written to its end")  # a full disk; nobody reads it any more
    finally:
        release()


# --- Reading a form -------------------------------------------------------------------------------------------------


class _Spool(FileUploadHandler):
    """Keeps the first file of a form that is wanted, and refuses all others, or drops their bytes."""

    chunk_size = _BLOCK_BYTES

    def __init__(self, release: GiveBack, *, wants: Callable[[str], bool], refuses: bool) -> None:
        super().__init__()
        self._release = release
        self._wants = wants
        self._refuses = refuses
        self._upload: StreamedUpload | None = None

    def new_file(self, field_name: str, file_name: str, content_type: str, *args: Any, **kwargs: Any) -> None:
        if not self._wants(field_name):
            if self._refuses:
                raise _invalid(field_name, "There is no such file.")
            raise SkipFile
        if self._upload is not None:
            if self._refuses:
                raise _invalid(field_name, "Send one file only.")
            raise SkipFile
        with _disk():
            self._upload = StreamedUpload(file_name, content_type, self._release)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        assert self._upload is not None
        with _disk():
            self._upload.append(raw_data)
        if self._upload.is_too_large and self._refuses:
            raise too_large()

    def file_complete(self, file_size: int) -> StreamedUpload | None:
        if self._upload is not None:
            with _disk():
                self._upload.finish()
        return self._upload

    def upload_interrupted(self) -> None:
        """Django calls this when the body ends within a file, and also when the last file was skipped."""
        if self._upload is None or self._upload.sha256:
            return
        self.end()
        if self._refuses:
            raise ApiError(ErrorCode.MALFORMED_REQUEST, "The form ends in the middle of a file.")

    def end(self) -> None:
        if self._upload is not None:
            self._upload.close()
        self._release()

    @property
    def is_empty(self) -> bool:
        return self._upload is None


def read_archive_form(request: HttpRequest, stream: Any, *, field: str) -> Form:
    """Read a multipart form, in UTF-8, of which one field is a file. The request closes the file.

    Raises:
        ApiError: PAYLOAD_TOO_LARGE, as soon as it is known; VALIDATION_ERROR for another file; MALFORMED_REQUEST;
            SERVICE_UNAVAILABLE when all places are taken, or the body is too slow; STORAGE_UNAVAILABLE when the disk
            is full.
        MultiPartParserError: it is no such form.
        SuspiciousOperation: it has too many fields.
        UnreadablePostError: the body breaks off.
    """
    if content_length(request.META) > body_max_bytes():
        raise too_large()
    return _read_form(request, stream, wants=lambda name: name == field, refuses=True)


def _read_form(request: HttpRequest, stream: Any, *, wants: Callable[[str], bool], refuses: bool) -> Form:
    is_slow = content_length(request.META) > limits.REQUEST_BODY_MAX_BYTES
    release = _places.take(_holder(request)) if is_slow else lambda: None
    body: Any = _PacedBody(stream, request.META.get("gunicorn.socket") if is_slow else None)
    spool = _Spool(release, wants=wants, refuses=refuses)
    try:
        with body.watched():
            form = MultiPartParser(request.META, body if is_slow else stream, [spool], "utf-8").parse()
    except BaseException:
        spool.end()
        raise
    if spool.is_empty:
        spool.end()
    return form


def _holder(request: HttpRequest) -> Hashable:
    """Return for whom a place is: the token that an API call came with, or the person."""
    return getattr(request, "auth", None) or getattr(request, "user", None)


class SiteUploadHandler(FileUploadHandler):
    """Reads the forms of the admin, by the setting FILE_UPLOAD_HANDLERS.

    Django reads a form before the view, to compare its CSRF token. So it is decided here that only staff may send
    more than any body may have. Of a file that is too large the form tells: see `StreamedUpload.is_too_large`.
    """

    def handle_raw_input(
        self,
        input_data: Any,
        META: dict[str, Any],  # noqa: N803  Django's name
        content_length: int,
        boundary: str,
        encoding: str | None = None,
    ) -> Form:
        assert self.request is not None
        may = _is_staff(self.request)
        if not may and content_length > limits.REQUEST_BODY_MAX_BYTES:
            raise RequestDataTooBig("Only staff may send a form of this size.")
        return _read_form(self.request, input_data, wants=lambda _name: may, refuses=False)


def content_length(environ: Mapping[str, Any]) -> int:
    """Return the length of the body in bytes; 0 when it isn't known."""
    text = str(environ.get("CONTENT_LENGTH") or "")
    return int(text) if text.isascii() and text.isdecimal() else 0


def too_large() -> ApiError:
    text = _("The archive may have at most {most} bytes.")
    return ApiError(ErrorCode.PAYLOAD_TOO_LARGE, format_lazy(text, most=f"{limits.BUNDLE_ARCHIVE_MAX_BYTES:,}"))


def _is_staff(request: HttpRequest) -> bool:
    user = getattr(request, "user", None)
    return bool(user and user.is_active and user.is_staff)


def _invalid(field: str, message: str) -> ApiError:
    return invalid_fields([{"field": field, "message": message}])


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        logger.error("The folder of temporary files fails: %s", error)
        raise ApiError(ErrorCode.STORAGE_UNAVAILABLE, retry_after=limits.RETRY_AFTER_OUTAGE_SECONDS) from error
