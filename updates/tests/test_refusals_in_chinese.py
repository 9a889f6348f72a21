"""What services refuse and notice: staff read it in the language of their browser, everybody else in English."""

import logging
from collections.abc import Mapping
from typing import Any, Final

import pytest
from django.test import Client
from django.urls import path
from django.utils import translation
from django.utils.translation import trans_real
from drf_spectacular.generators import SchemaGenerator
from rest_framework.request import Request
from rest_framework.test import APIClient

from config.api import ApiViewSet
from config.errors import ApiError, ErrorCode, in_english
from config.openapi import operation
from courses.models import Chapter
from tests.cast import error_code
from updates.models import BundleRelease, ReleaseEvent
from updates.services import publication
from updates.services.registrations import register_draft
from updates.tests import pipelines
from updates.tests.archives import packed, with_manifest
from updates.tests.pipelines import act
from updates.tests.shelf import APP, SOMEBODY, chapter_scope, draft, published, withdraw
from updates.tests.test_release_admin import archive, choose, confirm, plain, told, upload

pytestmark = pytest.mark.django_db

CHINESE: Final = {
    "a name and what is said of it\x04%(name)s: %(text)s": "%(name)s：%(text)s",
    "between the items of a list\x04, ": "、",
    "This is not a gzip file: a bundle is a .tar.gz.": "这不是gzip文件。",
    "It has {size} bytes, but the manifest says {stated}.": "它有{size}字节，清单说{stated}。",
    "Roll-back: {release} takes the place of {version}.": "回滚：{release}取代{version}。",
    "Nothing of {scope} is offered to all devices any more: those that have it keep it, and new ones may get none.": (
        "{scope}没有版本了。"
    ),
    "The rollout of {release} is {share} already, and can only be widened: withdraw the release to take it back.": (
        "{release}已推送到{share}。"
    ),
    "The release {release} can't be withdrawn: it is {state} since a moment ago. Look at it again.": (
        "{release}刚刚{state}。"
    ),
    "withdrawn": "被撤回",
    "Releases that are published together need the same rollout and the same time: {terms}.": "条件不同：{terms}。",
    "{release} has {share}, {time}": "{release}是{share}和{time}",
    "now": "现在",
    "This must be a semantic version such as 1.2.3.": "必须是版本号。",
    'This must be a list of expert ids such as ["data_inspector"].': "必须是专家列表。",
    "Required experts": "所需专家",
    "Before it can be published, these experts need a published release: {experts}.": "先发布{experts}。",
    "You may not do this.": "不可以。",
    "The bytes of {release} are not in the artifact store. Upload the archive again.": "{release}的字节不见了。",
}
"""Translations of the tests' own: those of the catalogue may change."""


@pytest.fixture(autouse=True)
def _chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = trans_real.translation("zh-hans")._catalog._catalogs[0]  # type: ignore[attr-defined]
    for text, translated in CHINESE.items():
        monkeypatch.setitem(catalogue, text, translated)


@pytest.fixture
def reader(admin_page: Client) -> Client:
    """Staff whose browser asks for Chinese."""
    admin_page.defaults["HTTP_ACCEPT_LANGUAGE"] = "zh-CN,zh;q=0.9"
    return admin_page


@pytest.fixture
def pipeline(operator: APIClient) -> APIClient:
    """A pipeline that asks for Chinese, in vain."""
    operator.defaults["HTTP_ACCEPT_LANGUAGE"] = "zh-CN,zh;q=0.9"
    return operator


def last_event() -> ReleaseEvent:
    event = ReleaseEvent.objects.last()
    assert event is not None
    return event


def error_of(response: Any) -> Mapping[str, Any]:
    error: Mapping[str, Any] = response.json()["error"]
    return error


# --- Refusals ---------------------------------------------------------------------------------------------------


def test_a_refused_archive_is_explained_in_chinese_and_audited_in_english(
    reader: Client, pipeline: APIClient, caplog: pytest.LogCaptureFixture
) -> None:
    english = "This is not a gzip file: a bundle is a .tar.gz."

    with caplog.at_level(logging.WARNING, "updates.audit"):
        page = upload(reader, b"no archive")

    assert page.context["adminform"].form.errors["archive"] == ["这不是gzip文件。"]
    assert last_event().refusal == english
    assert english in caplog.text

    answer = pipelines.upload(pipeline, b"no archive")

    assert error_code(answer) == "BUNDLE_INVALID"
    assert error_of(answer)["message"] == english
    assert error_of(answer)["details"] == [{"field": "archive", "message": english}]
    assert last_event().refusal == english


def test_a_fault_of_a_file_keeps_its_values(reader: Client, pipeline: APIClient) -> None:
    raw = packed({**with_manifest({"a{0}.md": b"a"}), "a{0}.md": b"more"}).getvalue()

    page = upload(reader, raw)

    assert page.context["adminform"].form.errors["archive"] == ["a{0}.md：它有4字节，清单说1。"]
    assert last_event().refusal == "a{0}.md: It has 4 bytes, but the manifest says 1."
    assert error_of(pipelines.upload(pipeline, raw))["details"] == [
        {"field": "a{0}.md", "message": "It has 4 bytes, but the manifest says 1."}
    ]


def test_a_field_that_the_model_refuses(reader: Client, pipeline: APIClient) -> None:
    raw = packed(with_manifest({}, version="one")).getvalue()

    page = upload(reader, raw)
    assert last_event().refusal == "bundle.manifest.json: version: This must be a semantic version such as 1.2.3."
    answer = pipelines.upload(pipeline, raw, version="one")

    (fault,) = page.context["adminform"].form.errors["archive"]
    assert fault.endswith("version: 必须是版本号。")
    assert error_of(answer)["message"] == "version: This must be a semantic version such as 1.2.3."


def test_a_field_that_the_page_has_not_goes_by_its_label(reader: Client) -> None:
    release = draft(APP)
    BundleRelease.objects.update(required_experts=["no id!"])

    page = confirm(reader, "publish", release, rollout_percent="100")

    assert page.context["form"].non_field_errors() == ["所需专家：必须是专家列表。"]
    reader.defaults["HTTP_ACCEPT_LANGUAGE"] = "en"
    page = confirm(reader, "publish", release, rollout_percent="100")
    assert page.context["form"].non_field_errors() == [
        'Required experts: This must be a list of expert ids such as ["data_inspector"].'
    ]


def test_an_act_that_is_refused(reader: Client, pipeline: APIClient) -> None:
    release = published(APP, rollout_basis_points=5_000)
    english = (
        "The rollout of app_agents/core 1.0.0 is 50 % already, and can only be widened: withdraw the release to take "
        "it back."
    )

    page = confirm(reader, "widen", release, rollout_percent="10")

    assert page.context["form"].non_field_errors() == ["app_agents/core 1.0.0已推送到50 %。"]
    assert last_event().refusal == english
    assert error_of(act(pipeline, release, "rollout", {"rollout_percent": 10}))["message"] == english


def test_a_message_within_a_message_is_of_the_same_language(reader: Client) -> None:
    release = published(APP)
    seen = BundleRelease.objects.get()
    withdraw(release)

    page = confirm(reader, "withdraw", seen)

    assert page.context["form"].non_field_errors() == ["app_agents/core 1.0.0刚刚被撤回。"]
    assert last_event().refusal == (
        "The release app_agents/core 1.0.0 can't be withdrawn: it is withdrawn since a moment ago. Look at it again."
    )


def test_a_list_within_a_message_is_too(chapter: Chapter) -> None:
    releases = [draft(APP, rollout_basis_points=5_000), draft(chapter_scope(chapter))]

    with pytest.raises(ApiError) as refused:
        publication.publish_releases(releases=releases, principal=SOMEBODY)

    message = refused.value.message
    with translation.override("zh-hans"):
        assert str(message) == f"条件不同：{releases[0]}是50 %和现在、{releases[1]}是100 %和现在。"
        assert in_english(message) == (
            "Releases that are published together need the same rollout and the same time: "
            f"{releases[0]} has 50 %, now, {releases[1]} has 100 %, now."
        )
        assert translation.get_language() == "zh-hans"


def test_a_refusal_on_the_page_of_the_list(reader: Client) -> None:
    """Without a form it is a message, which is kept until the next page."""
    release = register_draft(
        bundle_type="app_agents",
        scope_id="core",
        version="1.0.0",
        external_url="https://127.0.0.1/bundle.tar.gz",
        sha256="0" * 64,
        size_bytes=1,
        manifest={},
        principal=SOMEBODY,
    ).release

    page = choose(reader, "verify", release)

    event = last_event()
    assert event.refusal == (
        "127.0.0.1: 127.0.0.1 is not a public address. Hosts that may have others are named in VERIFY_PRIVATE_HOSTS."
    )
    with translation.override("zh-hans"):
        text = translation.gettext(
            "{host}: {address} is not a public address. Hosts that may have others are named in VERIFY_PRIVATE_HOSTS."
        )
    assert text.format(host="127.0.0.1", address="127.0.0.1") in told(page)


# --- Notices ----------------------------------------------------------------------------------------------------


def test_notices_are_told_in_chinese_and_audited_in_english(reader: Client) -> None:
    published(APP, "2.0.0")
    release = draft(APP, "1.0.0")

    page = confirm(reader, "publish", release, rollout_percent="100")

    assert "回滚：app_agents/core 1.0.0取代2.0.0。" in told(page)
    assert last_event().notices == ["Roll-back: app_agents/core 1.0.0 takes the place of 2.0.0."]
    audit = plain(reader.get(f"/admin/updates/releaseevent/{last_event().pk}/change/"))
    assert "Roll-back: app_agents/core 1.0.0 takes the place of 2.0.0." in audit


def test_a_pipeline_is_told_its_notices_in_english(reader: Client, pipeline: APIClient) -> None:
    release = published(APP)
    reader.get("/admin/")  # its language ends with it

    answer = act(pipeline, release, "withdraw", {})

    english = (
        "Nothing of app_agents/core is offered to all devices any more: those that have it keep it, and new ones may "
        "get none."
    )
    assert answer.json()["notices"] == [english]
    assert last_event().notices == [english]


def test_warnings_of_a_draft(reader: Client, pipeline: APIClient) -> None:
    raw = packed(with_manifest({"a.md": b"a"}, required_experts=["alpha"])).getvalue()

    page = reader.post(
        "/admin/updates/bundlerelease/add/",
        {
            "bundle_type": "app_agents",
            "scope_id": "core",
            "version": "1.0.0",
            "rollout_basis_points": "100",
            "archive": archive(raw),
        },
        follow=True,
    )

    assert "先发布alpha。" in told(page)
    english = "Before it can be published, these experts need a published release: alpha."
    assert last_event().notices == [english]
    assert pipelines.upload(pipeline, raw, is_mandatory="false").json()["warnings"] == [english]


# --- What is made once, for all readers -------------------------------------------------------------------------


def test_the_openapi_document_is_english_whoever_asks_first() -> None:
    """It is put together as views are imported, which may happen in a request of the admin."""
    with translation.override("zh-hans"):
        assert str(ErrorCode.FORBIDDEN.message) == "不可以。"

        class Example(ApiViewSet):
            @operation(summary="An example", answer=None, errors=[ErrorCode.FORBIDDEN], operation_id="example")
            def read(self, request: Request) -> None: ...

    schema = SchemaGenerator(patterns=[path("example", Example.as_view({"get": "read"}))]).get_schema(public=True)  # type: ignore[no-untyped-call]
    assert schema["paths"]["/example"]["get"]["responses"]["403"]["description"] == "`FORBIDDEN`: You may not do this."
