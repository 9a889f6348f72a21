"""`/v1/auth/*` and `/v1/me`."""

from http import HTTPStatus

from django.conf import settings
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import serializers, services
from config.api import ApiViewSet, respond, validated
from config.errors import ErrorCode
from config.openapi import operation
from config.ratelimit import client_address


class AuthViewSet(ApiViewSet):
    """The calls without a token: an `Authorization` header that comes along is not looked at."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @operation(
        summary="Mail a verification code",
        request=serializers.EmailCodeRequest,
        answer=serializers.EmailCodeAnswer,
        errors=[
            ErrorCode.UNSUPPORTED_AUTH_FLOW,
            ErrorCode.EMAIL_ALREADY_REGISTERED,
            ErrorCode.EMAIL_SEND_FAILED,
            ErrorCode.SERVER_MISCONFIGURED,
            ErrorCode.TOO_MANY_REQUESTS,
        ],
    )
    def request_email_code(self, request: Request) -> Response:
        sent = services.request_email_code(
            **validated(request, serializers.EmailCodeRequest), address=client_address(request)
        )
        answer = {"sent": True, "expires_in_seconds": sent.expires_in_seconds, "dev_code": sent.dev_code}
        return respond(serializers.EmailCodeAnswer, answer)

    @operation(
        summary="Make an account",
        request=serializers.RegisterRequest,
        answer=serializers.SessionAnswer,
        status=HTTPStatus.CREATED,
        errors=[
            ErrorCode.VERIFICATION_CODE_NOT_FOUND,
            ErrorCode.VERIFICATION_CODE_EXPIRED,
            ErrorCode.INVALID_VERIFICATION_CODE,
            ErrorCode.EMAIL_ALREADY_REGISTERED,
            ErrorCode.TOO_MANY_REQUESTS,
        ],
    )
    def register(self, request: Request) -> Response:
        fields = {"display_name": None, **validated(request, serializers.RegisterRequest)}
        opened = services.register_user(**fields, address=client_address(request))
        return Response(_session_answer(opened), status=HTTPStatus.CREATED)

    @operation(
        summary="Log in",
        request=serializers.LoginRequest,
        answer=serializers.SessionAnswer,
        errors=[
            ErrorCode.INVALID_CREDENTIALS,
            ErrorCode.INVALID_USER,
            ErrorCode.USER_NOT_FOUND,
            ErrorCode.TOO_MANY_REQUESTS,
        ],
    )
    def login(self, request: Request) -> Response:
        opened = services.log_in(**validated(request, serializers.LoginRequest), address=client_address(request))
        return Response(_session_answer(opened))

    @operation(
        summary="Get a new access token",
        request=serializers.RefreshRequest,
        answer=serializers.RefreshAnswer,
        errors=[
            ErrorCode.INVALID_REFRESH_TOKEN,
            ErrorCode.DEVICE_MISMATCH,
            ErrorCode.REFRESH_TOKEN_EXPIRED,
            ErrorCode.INVALID_USER,
        ],
    )
    def refresh(self, request: Request) -> Response:
        access_token = services.refresh_access_token(**validated(request, serializers.RefreshRequest))
        answer = {"access_token": access_token, "access_token_expires_in": settings.ACCESS_TOKEN_EXPIRE_SECONDS}
        return respond(serializers.RefreshAnswer, answer)

    @operation(summary="Log out", request=serializers.LogoutRequest, answer=serializers.LogoutAnswer)
    def logout(self, request: Request) -> Response:
        services.log_out(**validated(request, serializers.LogoutRequest))
        return respond(serializers.LogoutAnswer, {"success": True})


def _session_answer(opened: services.OpenedSession) -> dict[str, object]:
    return dict(
        serializers.SessionAnswer(
            {
                "user": opened.user,
                "access_token": opened.access_token,
                "access_token_expires_in": settings.ACCESS_TOKEN_EXPIRE_SECONDS,
                "refresh_token": opened.refresh_token,
            }
        ).data
    )


class MeViewSet(ApiViewSet):
    @operation(summary="Who am I?", answer=serializers.UserAnswer, authenticated=True)
    def retrieve(self, request: Request) -> Response:
        return respond(serializers.UserAnswer, request.user)
