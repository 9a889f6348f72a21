"""POST /v1/oss/download-credentials"""

import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from config import limits
from config.errors import ErrorCode
from storage import sts as sts_module
from storage.tests import servers
from tests.cast import Actor, error_code

PATH = "/v1/oss/download-credentials"
AGENTS = "real/app_agents/core/2.0.0/bundle.tar.gz"
CHAPTER = "real/chapter/c1/ch1/1.0.0/bundle.tar.gz"
EXPERT = "real/experts/critic/1.0.0/bundle.tar.gz"
CHAPTER_BY_CODE = "bundles/chapter/c1/ch1/1.0.0/"
CHAPTER_BY_ID = "bundles/chapter/0191-uuid/1.0.0/"


@pytest.fixture(autouse=True)
def readable(may_read: Callable[..., None], learner: Actor) -> None:
    may_read(
        learner,
        (AGENTS, ("bundles/app_agents/core/2.0.0/",)),
        (CHAPTER, (CHAPTER_BY_CODE, CHAPTER_BY_ID)),
        (EXPERT, ("bundles/experts/critic/1.0.0/",)),
    )


def ask(actor: Actor, **body: Any) -> Any:
    return actor.post(PATH, body)


def given(actor: Actor, **body: Any) -> dict[str, Any]:
    response = ask(actor, **body)
    assert response.status_code == 200, response.content
    return dict(response.json())


def folder(key: str) -> str:
    return key.removesuffix("bundle.tar.gz")


ALL = [folder(AGENTS), folder(CHAPTER), folder(EXPERT)]


class TestWithoutARole:
    @pytest.fixture(autouse=True)
    def with_oss(self, use_oss: Callable[..., None]) -> None:
        use_oss()

    def test_says_where_the_bucket_is(self, learner: Actor) -> None:
        answer = given(learner)

        issued_at = answer.pop("issued_at")
        assert answer == {
            "bucket": servers.BUCKET,
            "endpoint": "https://oss-cn-hangzhou.aliyuncs.com",
            "region": "cn-hangzhou",
            "cdn_domain": None,
            "allowed_prefixes": ALL,
            "access_key_id": None,
            "access_key_secret": None,
            "security_token": None,
            "expiration": None,
        }
        assert issued_at.endswith("Z")
        assert abs(datetime.fromisoformat(issued_at) - timezone.now()) < timedelta(seconds=5)

    @pytest.mark.parametrize("domain", ["cdn.example.com", "https://cdn.example.com/", "http://cdn.example.com"])
    def test_the_cdn_is_a_host(self, learner: Actor, settings: Settings, domain: str) -> None:
        settings.OSS_CDN_DOMAIN = domain

        assert given(learner)["cdn_domain"] == "cdn.example.com"

    @pytest.mark.parametrize("prefixes", [None, []])
    def test_no_prefixes_are_all(self, learner: Actor, prefixes: Any) -> None:
        assert given(learner, allowed_prefixes=prefixes)["allowed_prefixes"] == ALL

    @pytest.mark.parametrize(
        ("prefix", "expected"),
        [
            (CHAPTER_BY_CODE, [folder(CHAPTER)]),
            (CHAPTER_BY_ID, [folder(CHAPTER)]),
            (CHAPTER_BY_ID.removesuffix("/"), [folder(CHAPTER)]),
            (CHAPTER_BY_ID + "bundle.tar.gz", [CHAPTER]),
            (folder(CHAPTER), [folder(CHAPTER)]),
            (CHAPTER, [CHAPTER]),
            (f"oss://{servers.BUCKET}/{folder(CHAPTER)}", [folder(CHAPTER)]),
            ("bundles/chapter", [folder(CHAPTER)]),
            ("bundles/", ALL),
            ("real/", ALL),
        ],
    )
    def test_a_prefix_is_narrowed_to_what_is_readable(self, learner: Actor, prefix: str, expected: list[str]) -> None:
        assert given(learner, allowed_prefixes=[prefix])["allowed_prefixes"] == expected

    def test_several_are_answered_once_each_and_by_importance(self, learner: Actor) -> None:
        asked = [folder(EXPERT), CHAPTER, CHAPTER_BY_CODE, CHAPTER, "bundles/app_agents/", CHAPTER_BY_ID]

        assert given(learner, allowed_prefixes=asked)["allowed_prefixes"] == ALL

    @pytest.mark.parametrize(
        "prefix",
        [
            "",
            "/",
            "//",
            ".",
            "..",
            "../",
            "bundles/../",
            "bundles/chapter/../app_agents/",
            "/bundles/",
            "bundles//",
            "b",
            "bundle",
            "bundles/chapter/c",
            "bundles/chapter/c1/ch1/1.0",
            "bundles/chapter/c1/ch1/1.0.0/bundle",
            "bundles/chapter/c1/ch10/",
            "bundles/chapter/c2/",
            "BUNDLES/",
            "bundles/*",
            "*",
            "bundles/?",
            CHAPTER + "/",
            f"oss://another/{folder(CHAPTER)}",
            f"oss://{servers.BUCKET}",
            f"oss://{servers.BUCKET}/",
            f"oss://{servers.BUCKET}/../",
            "https://example.com/bundles/",
        ],
    )
    def test_a_prefix_that_covers_nothing_is_denied(self, learner: Actor, prefix: str) -> None:
        for prefixes in ([prefix], [CHAPTER_BY_CODE, prefix]):
            response = ask(learner, allowed_prefixes=prefixes)
            assert response.status_code == 403, response.content
            assert error_code(response) == ErrorCode.ARTIFACT_ACCESS_DENIED

    def test_who_may_read_nothing(self, outsider: Actor) -> None:
        assert given(outsider)["allowed_prefixes"] == []
        assert error_code(ask(outsider, allowed_prefixes=["bundles/"])) == ErrorCode.ARTIFACT_ACCESS_DENIED

    def test_an_object_without_a_folder_is_not_answered_as_everything(
        self, learner: Actor, may_read: Callable[..., None]
    ) -> None:
        may_read(learner, "bundle.tar.gz")

        assert given(learner)["allowed_prefixes"] == ["bundle.tar.gz"]

    def test_the_query_count(self, learner: Actor, django_assert_num_queries: Any) -> None:
        with django_assert_num_queries(1):  # authentication; the rest is up to ArtifactAccess
            given(learner, allowed_prefixes=["bundles/"])


class TestWithARole:
    def test_gives_credentials_for_exactly_the_keys(self, learner: Actor, sts: servers.Server) -> None:
        answer = given(learner, allowed_prefixes=[CHAPTER_BY_ID, "bundles/experts/"])

        assert answer["access_key_id"] == "STS.temporary-id"
        assert answer["access_key_secret"] == "temporary-secret"
        assert answer["security_token"] == "temporary-token"
        assert answer["allowed_prefixes"] == [folder(CHAPTER), folder(EXPERT)]
        assert answer["expiration"].endswith("Z")
        sent = json.loads(sts.requests[0])
        assert sent["Action"] == "AssumeRole"
        assert sent["RoleArn"] == "acs:ram::1:role/learner"
        assert json.loads(sent["Policy"]) == {
            "Version": "1",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Action": ["oss:GetObject"],
                    "Resource": [
                        f"acs:oss:*:*:{servers.BUCKET}/{CHAPTER}",
                        f"acs:oss:*:*:{servers.BUCKET}/{EXPERT}",
                    ],
                }
            ],
        }
        assert sent["RoleSessionName"] == f"learner-{learner.user.pk.hex}"
        assert re.fullmatch(r"[A-Za-z0-9.@_-]{2,64}", sent["RoleSessionName"])

    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            ({}, 1800),
            ({"duration_seconds": None}, 1800),
            ({"duration_seconds": 900}, 900),
            ({"duration_seconds": 3600}, 3600),
        ],
    )
    def test_for_how_long(self, learner: Actor, sts: servers.Server, body: dict[str, Any], expected: int) -> None:
        answer = given(learner, **body)

        assert json.loads(sts.requests[0])["DurationSeconds"] == str(expected)
        lifetime = datetime.fromisoformat(answer["expiration"]) - datetime.fromisoformat(answer["issued_at"])
        assert abs(lifetime - timedelta(seconds=expected)) < timedelta(seconds=5)

    def test_what_does_not_fit_into_a_policy_is_left_out(
        self, learner: Actor, sts: servers.Server, may_read: Callable[..., None]
    ) -> None:
        keys = [f"bundles/experts/expert_ü_{number:03d}/1.0.0/bundle.tar.gz" for number in range(100)]
        may_read(learner, *keys)

        answer = given(learner)

        policy = json.loads(sts.requests[0])["Policy"]
        resources = json.loads(policy)["Statement"][0]["Resource"]
        count = len(resources)
        assert len(policy) <= limits.STS_POLICY_MAX_CHARACTERS < len(policy) + 100
        assert resources == [f"acs:oss:*:*:{servers.BUCKET}/{key}" for key in keys[:count]]
        assert answer["allowed_prefixes"] == [folder(key) for key in keys[:count]]

    def test_a_key_is_never_a_pattern(self, learner: Actor, sts: servers.Server, may_read: Callable[..., None]) -> None:
        may_read(learner, "bundles/*", "bundles/?", "bundles/${x}", CHAPTER)

        assert given(learner)["allowed_prefixes"] == [folder(CHAPTER)]
        assert "bundles/" not in json.loads(sts.requests[0])["Policy"]

    def test_nothing_to_grant_asks_nobody(
        self, outsider: Actor, learner: Actor, sts: servers.Server, may_read: Callable[..., None]
    ) -> None:
        may_read(learner, "bundles/*")

        for actor in (outsider, learner):
            answer = given(actor)
            assert answer["allowed_prefixes"] == []
            assert answer["access_key_id"] is answer["expiration"] is None
        assert sts.requests == []

    @pytest.mark.parametrize("mode", ["fail", "hang", "garbage", "cut", "gone", "wrong secret"])
    def test_an_outage(
        self, learner: Actor, sts: servers.Server, settings: Settings, monkeypatch: pytest.MonkeyPatch, mode: str
    ) -> None:
        monkeypatch.setattr(sts_module, "_ANSWER_SECONDS", 0.3)
        match mode:
            case "gone":
                sts.shutdown()
                sts.server_close()
            case "wrong secret":
                settings.OSS_ACCESS_KEY_SECRET = "another"
            case _:
                sts.mode = mode

        response = ask(learner)

        assert response.status_code == 503
        assert error_code(response) == ErrorCode.STORAGE_UNAVAILABLE
        assert int(response["Retry-After"]) > 0

    @pytest.mark.parametrize(
        ("region", "endpoint", "expected"),
        [
            ("cn-hangzhou", "", "https://sts.cn-hangzhou.aliyuncs.com"),
            ("oss-cn-hangzhou", "", "https://sts.cn-hangzhou.aliyuncs.com"),
            ("", "", "https://sts.aliyuncs.com"),
            ("cn-hangzhou", "sts.example.com", "https://sts.example.com"),
        ],
    )
    def test_where_sts_is(self, settings: Settings, region: str, endpoint: str, expected: str) -> None:
        settings.OSS_REGION_ID = region
        settings.OSS_STS_ENDPOINT = endpoint

        assert sts_module._endpoint() == expected


def test_with_oss_off(learner: Actor) -> None:
    response = ask(learner, allowed_prefixes=[CHAPTER_BY_CODE])

    assert response.status_code == 503
    assert error_code(response) == ErrorCode.SERVER_MISCONFIGURED


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"duration_seconds": 899}, "duration_seconds"),
        ({"duration_seconds": 3601}, "duration_seconds"),
        ({"duration_seconds": "900"}, "duration_seconds"),
        ({"duration_seconds": False}, "duration_seconds"),
        ({"duration_seconds": []}, "duration_seconds"),
        ({"allowed_prefixes": "bundles/"}, "allowed_prefixes"),
        ({"allowed_prefixes": {"a": "b"}}, "allowed_prefixes"),
        ({"allowed_prefixes": [5]}, "allowed_prefixes.0"),
        ({"allowed_prefixes": [None]}, "allowed_prefixes.0"),
        ({"allowed_prefixes": ["a\x00"]}, "allowed_prefixes.0"),
        ({"allowed_prefixes": ["x" * 2049]}, "allowed_prefixes.0"),
        ({"allowed_prefixes": ["x"] * 1001}, "allowed_prefixes"),
        ([], "body"),
    ],
)
def test_invalid_fields(learner: Actor, use_oss: Callable[..., None], body: Any, field: str) -> None:
    use_oss()

    response = learner.post(PATH, body)

    assert response.status_code == 422
    assert error_code(response) == ErrorCode.VALIDATION_ERROR
    assert response.json()["error"]["details"][0]["field"] == field


def test_malformed_json(learner: Actor) -> None:
    response = learner.client.post(PATH, b"[", content_type="application/json")

    assert error_code(response) == ErrorCode.MALFORMED_REQUEST


def test_needs_a_token(api: APIClient) -> None:
    assert error_code(api.post(PATH, {}, format="json")) == ErrorCode.UNAUTHORIZED


def test_wrong_method(learner: Actor) -> None:
    assert error_code(learner.get(PATH)) == ErrorCode.METHOD_NOT_ALLOWED
