"""`/v1/updates/*`."""

from typing import cast

from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import DeviceSession
from accounts.services import note_client_versions
from config.api import ApiViewSet, respond, validated
from config.errors import ErrorCode
from config.openapi import operation
from config.urlbase import public_base_url
from updates import device_checks, serializers
from updates.selection import known_version


class UpdateViewSet(ApiViewSet):
    @operation(
        summary="Which bundles of the app have to be installed?",
        request=serializers.CheckAppRequest,
        answer=serializers.CheckAppAnswer,
        authenticated=True,
    )
    def check_app(self, request: Request) -> Response:
        fields = validated(request, serializers.CheckAppRequest)
        session = cast(DeviceSession, request.auth)
        note_client_versions(
            session=session,
            desktop_version=_real_version(fields.get("desktop_version")),
            sidecar_version=_real_version(fields.get("sidecar_version")),
        )
        check = device_checks.check_app(
            session=session, installed=fields.get("installed") or {}, base_url=public_base_url(request)
        )
        return respond(serializers.CheckAppAnswer, check)

    @operation(
        summary="Which bundles have to be installed before this chapter is opened?",
        request=serializers.CheckChapterRequest,
        answer=serializers.CheckChapterAnswer,
        errors=[ErrorCode.COURSE_ACCESS_DENIED, ErrorCode.COURSE_NOT_FOUND, ErrorCode.CHAPTER_NOT_FOUND],
        authenticated=True,
    )
    def check_chapter(self, request: Request) -> Response:
        fields = validated(request, serializers.CheckChapterRequest)
        check = device_checks.check_chapter(
            session=cast(DeviceSession, request.auth),
            course_id=fields["course_id"],
            chapter_ref=fields["chapter_id"],
            installed=fields.get("installed") or {},
            base_url=public_base_url(request),
        )
        return respond(serializers.CheckChapterAnswer, check)


def _real_version(sent: str | None) -> str | None:
    version = known_version((sent or "").strip())
    return str(version) if version else None
