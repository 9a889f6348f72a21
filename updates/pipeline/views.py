"""`/v1/admin/bundles`: releases from a build pipeline."""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from config.api import ApiViewSet, validated
from config.errors import ApiError, ErrorCode
from config.parsers import ArchiveFormParser
from config.uploads import slow_place
from config.urlbase import public_base_url
from updates.models import Ability, BundleRelease
from updates.pipeline import serializers
from updates.pipeline.authentication import IsPipeline, MayUpload, PipelineAuthentication, caller
from updates.pipeline.openapi import pipeline_operation
from updates.pipeline.selectors import get_release, get_releases
from updates.pipeline.wanted import Wanted
from updates.principals import Principal
from updates.selectors import list_releases
from updates.services.drafts import Draft, delete_draft
from updates.services.publication import (
    Act,
    Terms,
    ensure_published,
    publish_releases,
    reschedule_releases,
    widen_rollout,
    withdraw_releases,
)
from updates.services.registrations import register_draft
from updates.services.uploads import upload_draft
from updates.services.verification import verify_release


class PipelineViewSet(ApiViewSet):
    authentication_classes = (PipelineAuthentication,)
    permission_classes = (IsPipeline,)


class UploadViewSet(PipelineViewSet):
    permission_classes = (MayUpload,)
    parser_classes = (ArchiveFormParser,)

    @pipeline_operation(
        summary="Upload an archive, and publish it if wanted",
        request=serializers.UploadRequest,
        answer=serializers.MadeAnswer,
        status=HTTPStatus.CREATED,
        also={HTTPStatus.OK: serializers.MadeAnswer},
        errors=[ErrorCode.BUNDLE_INVALID, ErrorCode.BUNDLE_RELEASE_CONFLICT, ErrorCode.STORAGE_UNAVAILABLE],
        messages={ErrorCode.UNSUPPORTED_MEDIA_TYPE: "The request body must be multipart/form-data."},
        description="201 when the release is new. The same bytes again are 200: the release that is there. A draft "
        "then gets the options that this request states. What is published keeps its own: publishing it on other terms "
        "is 409, unless its rollout was only widened since.",
        operation_id="bundles_upload",
    )
    def upload(self, request: Request) -> Response:
        principal = caller(request)
        fields = validated(request, serializers.UploadRequest)
        publish = fields.get("publish", False)
        if publish:
            principal.require(Ability.PUBLISH)  # before anything is made
        file = fields["file"]
        _check_digest(fields.get("sha256", file.sha256), file.sha256)
        wanted = Wanted.by(fields)
        draft = wanted.apply(
            upload_draft(
                **wanted.identity, file=file, principal=principal, options=wanted.options(), sha256=file.sha256
            ),
            principal,
        )
        return _answer_made(request, draft, _publish(draft.release, wanted, principal) if publish else None)


class BundleViewSet(PipelineViewSet):
    @pipeline_operation(
        summary="List releases, the newest first",
        answer=serializers.ListAnswer,
        parameters=[serializers.ListRequest],
        errors=[ErrorCode.VALIDATION_ERROR],
        operation_id="bundles_list",
    )
    def index(self, request: Request) -> Response:
        principal = caller(request)
        principal.require(Ability.READ)
        query = serializers.ListRequest(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        rows, total = list_releases(principal=principal, **query.validated_data)
        answer = serializers.ListAnswer({"bundles": rows, "total": total}, context=_context(request))
        return Response(answer.data)

    @pipeline_operation(
        summary="Read a release",
        answer=serializers.DetailAnswer,
        about_one=True,
        operation_id="bundles_read",
    )
    def retrieve(self, request: Request, id: str) -> Response:
        principal = caller(request)
        principal.require(Ability.READ)
        release = get_release(principal=principal, release_id=id)
        return Response(serializers.DetailAnswer(release, context=_context(request)).data)

    @pipeline_operation(
        summary="Delete a draft that was never published",
        answer=None,
        status=HTTPStatus.NO_CONTENT,
        errors=[ErrorCode.BUNDLE_RELEASE_CONFLICT],
        about_one=True,
        operation_id="bundles_delete",
    )
    def destroy(self, request: Request, id: str) -> Response:
        principal = caller(request)
        delete_draft(release=get_release(principal=principal, release_id=id), principal=principal)
        return Response(status=HTTPStatus.NO_CONTENT)

    @pipeline_operation(
        summary="Register an archive that lies elsewhere, and publish it",
        request=serializers.RegisterBundleRequest,
        answer=serializers.MadeAnswer,
        status=HTTPStatus.CREATED,
        also={HTTPStatus.OK: serializers.MadeAnswer},
        errors=[
            ErrorCode.BUNDLE_INVALID,
            ErrorCode.BUNDLE_RELEASE_CONFLICT,
            ErrorCode.ARTIFACT_UNREACHABLE,
            ErrorCode.STORAGE_UNAVAILABLE,
        ],
        description="201 when the release is new, 200 for the same again. A draft then gets the options that this "
        "request states. What is published keeps its own: publishing it on other terms is 409, unless its rollout was "
        "only widened since.",
        operation_id="bundles_register",
    )
    def register(self, request: Request) -> Response:
        principal = caller(request)
        fields = validated(request, serializers.RegisterBundleRequest)
        principal.require(Ability.PUBLISH)  # before anything is made
        wanted = Wanted.by(fields)
        draft = wanted.apply(
            register_draft(
                **wanted.identity,
                external_url=fields["artifact_url"],
                sha256=fields["sha256"],
                size_bytes=fields["size_bytes"],
                manifest=fields.get("manifest_json") or {},
                principal=principal,
                options=wanted.options(),
            ),
            principal,
        )
        act = _publish(draft.release, wanted, principal, verify=fields.get("verify", False))
        return _answer_made(request, draft, act)

    @pipeline_operation(
        summary="Publish a release",
        request=serializers.PublishRequest,
        answer=serializers.ActAnswer,
        errors=[ErrorCode.BUNDLE_RELEASE_CONFLICT, ErrorCode.STORAGE_UNAVAILABLE],
        about_one=True,
        operation_id="bundles_publish",
    )
    def publish(self, request: Request, id: str) -> Response:
        principal = caller(request)
        release = get_release(principal=principal, release_id=id)
        fields = validated(request, serializers.PublishRequest)
        companions = get_releases(principal=principal, release_ids=fields.get("with", ()), field="with")
        act = publish_releases(
            releases=[*companions, release],
            principal=principal,
            terms=Terms(fields.get("rollout_percent"), fields.get("publish_at")),
        )
        return _answer_act(request, release, act)

    @pipeline_operation(
        summary="Move the time of a scheduled release, and of those that were published with it",
        request=serializers.RescheduleRequest,
        answer=serializers.ActAnswer,
        errors=[ErrorCode.BUNDLE_RELEASE_CONFLICT],
        about_one=True,
        description="To the same time again: no change. 409 when its time has come: devices are offered it then, and "
        "withdrawing takes it back.",
        operation_id="bundles_reschedule",
    )
    def reschedule(self, request: Request, id: str) -> Response:
        principal = caller(request)
        release = get_release(principal=principal, release_id=id)
        fields = validated(request, serializers.RescheduleRequest)
        act = reschedule_releases(releases=[release], principal=principal, publish_at=fields.get("publish_at"))
        return _answer_act(request, release, act)

    @pipeline_operation(
        summary="Take a release back: every device gets the one before",
        request=serializers.WithdrawRequest,
        answer=serializers.ActAnswer,
        errors=[ErrorCode.BUNDLE_RELEASE_CONFLICT],
        about_one=True,
        operation_id="bundles_withdraw",
    )
    def withdraw(self, request: Request, id: str) -> Response:
        principal = caller(request)
        release = get_release(principal=principal, release_id=id)
        fields = validated(request, serializers.WithdrawRequest)
        act = withdraw_releases(releases=[release], principal=principal, together=fields.get("together", True))
        return _answer_act(request, release, act)

    @pipeline_operation(
        summary="Offer a release, and those that were published with it, to more devices",
        request=serializers.RolloutRequest,
        answer=serializers.ActAnswer,
        errors=[ErrorCode.BUNDLE_RELEASE_CONFLICT],
        about_one=True,
        operation_id="bundles_rollout",
    )
    def rollout(self, request: Request, id: str) -> Response:
        principal = caller(request)
        release = get_release(principal=principal, release_id=id)
        fields = validated(request, serializers.RolloutRequest)
        act = widen_rollout(releases=[release], principal=principal, rollout_basis_points=fields["rollout_percent"])
        return _answer_act(request, release, act)

    @pipeline_operation(
        summary="Fetch a release's bytes from where they lie, and check them",
        answer=serializers.CheckedAnswer,
        errors=[
            ErrorCode.BUNDLE_INVALID,
            ErrorCode.BUNDLE_RELEASE_CONFLICT,
            ErrorCode.ARTIFACT_UNREACHABLE,
            ErrorCode.STORAGE_UNAVAILABLE,
        ],
        about_one=True,
        operation_id="bundles_verify",
    )
    def verify(self, request: Request, id: str) -> Response:
        principal = caller(request)
        release = get_release(principal=principal, release_id=id)
        with slow_place(principal):
            release = verify_release(release=release, principal=principal)
        return Response(_checked(request, release))


def _check_digest(stated: str, found: str) -> None:
    if stated != found:
        raise ApiError(ErrorCode.BUNDLE_INVALID, f"The archive that arrived has the SHA-256 {found}, not {stated}.")


def _publish(release: BundleRelease, wanted: Wanted, principal: Principal, *, verify: bool = False) -> Act:
    """Publish what was made, unless it is published already."""
    with _telling_that_it_stands(release):
        if verify and release.state == BundleRelease.State.DRAFT:
            with slow_place(principal):
                release = verify_release(release=release, principal=principal)
        act = ensure_published(release=release, principal=principal, terms=wanted.terms)
        wanted.refuse_other_terms(act.releases[0], principal)
        return act


@contextmanager
def _telling_that_it_stands(release: BundleRelease) -> Iterator[None]:
    try:
        yield
    except ApiError as error:
        if release.state == BundleRelease.State.DRAFT:
            error.message = f"{error.sentence} The draft stands: {release.pk}."
        raise


def _context(request: Request) -> dict[str, Any]:
    return {"base_url": public_base_url(request), "may_read": caller(request).may(Ability.READ)}


def _checked(request: Request, release: BundleRelease) -> dict[str, Any]:
    return dict(serializers.CheckedAnswer(release, context=_context(request)).data)


def _answer_made(request: Request, draft: Draft, act: Act | None) -> Response:
    """Answer with the release as its publication has left it."""
    release = act.releases[0] if act else draft.release
    answer = {
        **serializers.ReleaseAnswer(release, context=_context(request)).data,
        "required_experts": release.required_experts,
        "warnings": list(map(str, draft.warnings)),
        "notices": list(map(str, act.notices)) if act else [],
    }
    return Response(answer, status=HTTPStatus.CREATED if draft.is_new else HTTPStatus.OK)


def _answer_act(request: Request, release: BundleRelease, act: Act) -> Response:
    changed = next(row for row in act.releases if row.pk == release.pk)
    together = [serializers.ChangedRelease(row).data for row in act.releases]
    return Response({**_checked(request, changed), "notices": list(map(str, act.notices)), "together": together})
