"""`/v1/oss/*`, and the downloads of artifacts that lie with us."""

import mimetypes
from http import HTTPStatus
from typing import Final

from django.http import FileResponse, HttpResponse, HttpResponseNotModified
from django.http.response import HttpResponseBase
from django.utils.http import parse_etags
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from config.api import ApiViewSet, caller_id, respond, validated
from config.errors import ApiError, ErrorCode
from config.exception_handler import json_error
from config.openapi import operation
from config.urlbase import public_base_url
from storage import downloads, serializers, services
from storage.openapi import answers_bytes
from storage.ranges import ByteRange, UnsatisfiableRangeError, requested_range


class OssViewSet(ApiViewSet):
    @operation(
        summary="Get a download URL",
        request=serializers.ResolveRequest,
        answer=serializers.ResolveAnswer,
        errors=[ErrorCode.ARTIFACT_ACCESS_DENIED, ErrorCode.STORAGE_UNAVAILABLE],
        authenticated=True,
    )
    def resolve_artifact_url(self, request: Request) -> Response:
        fields = {"expires_seconds": None, **validated(request, serializers.ResolveRequest)}
        url = services.resolve_artifact_url(**fields, user_id=caller_id(request), base_url=public_base_url(request))
        return respond(serializers.ResolveAnswer, {"artifact_url": url})

    @operation(
        summary="Get temporary credentials for downloads from the bucket",
        request=serializers.CredentialsRequest,
        answer=serializers.CredentialsAnswer,
        errors=[
            ErrorCode.ARTIFACT_ACCESS_DENIED,
            ErrorCode.STORAGE_UNAVAILABLE,
            (ErrorCode.SERVER_MISCONFIGURED, HTTPStatus.SERVICE_UNAVAILABLE),
        ],
        authenticated=True,
    )
    def download_credentials(self, request: Request) -> Response:
        fields = {
            "duration_seconds": None,
            "allowed_prefixes": None,
            **validated(request, serializers.CredentialsRequest),
        }
        issued = services.issue_download_credentials(**fields, user_id=caller_id(request))
        return respond(serializers.CredentialsAnswer, issued)


class DownloadResponse(FileResponse):
    block_size = 256 * 1024


def _header(name: str, description: str) -> OpenApiParameter:
    return OpenApiParameter(name, str, OpenApiParameter.HEADER, description=description)


class ArtifactViewSet(ApiViewSet):
    """Downloads of what lies in ARTIFACT_ROOT. The signature in the URL stands for a token."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @answers_bytes
    @operation(
        summary="Download an artifact",
        answer=OpenApiTypes.BINARY,
        errors=[
            ErrorCode.ARTIFACT_ACCESS_DENIED,
            ErrorCode.NOT_FOUND,
            ErrorCode.RANGE_NOT_SATISFIABLE,
            ErrorCode.STORAGE_UNAVAILABLE,
        ],
        parameters=[
            OpenApiParameter("key", str, OpenApiParameter.PATH, description="The object key, with its slashes."),
            OpenApiParameter("expires", int, required=True, description="Unix time, in seconds."),
            OpenApiParameter("signature", str, required=True, description="Made by the server over key and expiry."),
            _header("Range", "One range of bytes; anything else gets the whole."),
            _header("If-Range", "The ETag of the part that is there already; another one gets the whole."),
            _header("If-None-Match", "ETags that are there already."),
        ],
        operation_id="artifacts_download",
        description="Of a worker's threads at most half send artifacts at a time; beyond, it is 503 with Retry-After.",
    )
    def retrieve(self, request: Request, key: str) -> HttpResponseBase:
        query = request.query_params
        download = downloads.find_download(
            key=key, expires=query.get("expires", ""), signature=query.get("signature", "")
        )
        try:
            response = _answer(request, download)
        except UnsatisfiableRangeError:
            refusal = json_error(ApiError(ErrorCode.RANGE_NOT_SATISFIABLE))
            refusal["Content-Range"] = f"bytes */{download.size}"
            return refusal
        response["Accept-Ranges"] = "bytes"
        response["ETag"] = download.etag
        response["Cache-Control"] = f"private, max-age={download.max_age}, immutable"
        return response


def _answer(request: Request, download: downloads.Download) -> HttpResponseBase:
    """Answer in the order of RFC 9110, section 13.2.2: first whether to send anything, then which part."""
    if _has_it_already(request, download):
        return HttpResponseNotModified()
    if request.method == "HEAD":
        return HttpResponse(content_type=_content_type(download.key), headers={"Content-Length": str(download.size)})
    return _send(download, _wanted_part(request, download))


def _has_it_already(request: Request, download: downloads.Download) -> bool:
    etags = parse_etags(request.headers.get("If-None-Match", ""))
    return "*" in etags or download.etag in {etag.removeprefix("W/") for etag in etags}


def _wanted_part(request: Request, download: downloads.Download) -> ByteRange | None:
    """Read `Range`, unless `If-Range` names other bytes; there is no date to compare with, so a date never matches."""
    if request.headers.get("If-Range", download.etag).strip() != download.etag:
        return None
    return requested_range(request.headers.get("Range", ""), download.size)


def _send(download: downloads.Download, part: ByteRange | None) -> HttpResponseBase:
    sent = part or ByteRange(0, download.size - 1)
    response = DownloadResponse(
        download.open(sent),
        as_attachment=True,
        filename=download.key.rpartition("/")[2],
        content_type=_content_type(download.key),
        status=HTTPStatus.PARTIAL_CONTENT if part else HTTPStatus.OK,
    )
    response["Content-Length"] = str(sent.length)
    if part:
        response["Content-Range"] = f"bytes {part.first}-{part.last}/{download.size}"
    return response


_OTHER: Final = "application/octet-stream"


def _content_type(key: str) -> str:
    """Say gzip for what is: everything else is bytes, so that no browser shows it as a page of ours."""
    return "application/gzip" if mimetypes.guess_type(key)[1] == "gzip" else _OTHER
