"""POST /v1/oss/resolve-artifact-url"""

import io
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from config.errors import ErrorCode
from storage.artifacts import store_artifact
from storage.tests import servers
from tests.cast import Actor, error_code

PATH = "/v1/oss/resolve-artifact-url"
CHAPTER = "bundles/chapter/c1/ch1_intro/1.0.0/bundle.tar.gz"
EXPERT = "releases/experts/critic/1.0.0/critic-1.tar.gz"
ALIAS = "bundles/experts/critic/1.0.0/"


@pytest.fixture(autouse=True)
def readable(may_read: Callable[..., None], learner: Actor, fellow: Actor, artifact_root: Path) -> None:
    may_read(learner, CHAPTER, (EXPERT, (ALIAS, "bundles/experts/0191-uuid/1.0.0/")))
    may_read(fellow, EXPERT)


def resolve(actor: Actor, artifact: Any, **more: Any) -> Any:
    return actor.post(PATH, {"artifact": artifact, **more})


def resolved(actor: Actor, artifact: str, **more: Any) -> str:
    response = resolve(actor, artifact, **more)
    assert response.status_code == 200, response.content
    assert set(response.json()) == {"artifact_url"}
    return str(response.json()["artifact_url"])


def key_in(url: str) -> str:
    return urlsplit(url).path.removeprefix("/artifacts/")


def test_a_key_becomes_a_url_that_downloads(learner: Actor) -> None:
    store_artifact(key=CHAPTER, content=io.BytesIO(b"the bytes"))

    url = resolved(learner, CHAPTER)

    assert url.startswith("http://testserver/artifacts/")
    response: Any = Client().get(url)
    assert b"".join(response.streaming_content) == b"the bytes"


@pytest.mark.parametrize(
    "name",
    [
        EXPERT,
        ALIAS + "bundle.tar.gz",
        ALIAS + "critic-1.tar.gz",
        "bundles/experts/0191-uuid/1.0.0/bundle.tar.gz",
    ],
)
def test_the_names_that_clients_have(learner: Actor, name: str) -> None:
    assert key_in(resolved(learner, name)) == EXPERT


@pytest.mark.parametrize(
    "url",
    [
        "https://elsewhere.example.com/x.tar.gz?a=b#c",
        "http://elsewhere.example.com",
        "HTTPS://elsewhere.example.com/../x",
        "http://testserver/artifacts/anything",
    ],
)
def test_a_url_is_returned_as_it_is(outsider: Actor, url: str) -> None:
    assert resolved(outsider, url) == url


def test_begins_with_the_public_base_url(learner: Actor, settings: Settings) -> None:
    settings.PUBLIC_BASE_URL = "https://api.example.com"

    assert resolved(learner, CHAPTER).startswith("https://api.example.com/artifacts/")


@pytest.mark.parametrize("seconds", [60, 3600, 61.0])
def test_is_valid_as_long_as_asked(learner: Actor, seconds: float) -> None:
    url = resolved(learner, CHAPTER, expires_seconds=seconds)

    assert seconds - 2 <= int(parse_qs(urlsplit(url).query)["expires"][0]) - time.time() <= seconds


@pytest.mark.parametrize("more", [{}, {"expires_seconds": None}])
def test_is_valid_for_fifteen_minutes_at_least(learner: Actor, more: dict[str, None]) -> None:
    url = resolved(learner, CHAPTER, **more)

    assert int(parse_qs(urlsplit(url).query)["expires"][0]) - time.time() >= 899


def test_the_query_count(learner: Actor, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):  # authentication; the rest is up to ArtifactAccess
        resolved(learner, CHAPTER)


@pytest.mark.parametrize(
    "name",
    [
        "bundles/chapter/c1/ch1_intro/2.0.0/bundle.tar.gz",
        "bundles/chapter/c1/ch1_intro/1.0.0",
        "bundles/chapter/c1/ch1_intro/1.0.0/",
        "bundles/chapter/c1/ch1_intro/1.0.0/bundle.tar",
        "bundles/chapter/c1/ch1_intro/1.0.0/bundle.tar.gz/",
        "bundles/chapter/c1/../c1/ch1_intro/1.0.0/bundle.tar.gz",
        "./" + CHAPTER,
        "/" + CHAPTER,
        "//" + CHAPTER,
        CHAPTER.replace("/", "//", 1),
        CHAPTER.replace("/", "\\"),
        CHAPTER.upper(),
        CHAPTER + "?x",
        CHAPTER + " ",
        CHAPTER.replace("c1", "%631"),
        ALIAS,
        ALIAS + "other.tar.gz",
        "..",
        "/",
        " ",
        "https://",
        "https:///x",
        "http://[",
        "ftp://example.com/x",
        "javascript:alert(1)",
        "file:///etc/passwd",
        f"oss://another/{CHAPTER}",
        f"oss:///{CHAPTER}",
        "oss://",
    ],
)
def test_anything_else_is_denied(learner: Actor, name: str) -> None:
    response = resolve(learner, name)

    assert response.status_code == 403, response.content
    assert error_code(response) == ErrorCode.ARTIFACT_ACCESS_DENIED


def test_dots_are_denied_even_as_an_alias(learner: Actor, may_read: Callable[..., None]) -> None:
    may_read(learner, (EXPERT, ("bundles/experts/../1.0.0/",)))

    assert resolve(learner, "bundles/experts/../1.0.0/bundle.tar.gz").status_code == 403


def test_what_another_learner_may_have_is_denied(fellow: Actor, outsider: Actor) -> None:
    assert key_in(resolved(fellow, EXPERT)) == EXPERT
    assert resolve(fellow, CHAPTER).status_code == 403
    assert resolve(outsider, EXPERT).status_code == 403


class TestWithOss:
    def test_an_address_in_the_bucket(self, learner: Actor, use_oss: Callable[..., None]) -> None:
        use_oss()

        for name in (CHAPTER, f"oss://{servers.BUCKET}/{CHAPTER}"):
            url = resolved(learner, name, expires_seconds=60)
            assert url.startswith(f"https://test-bucket.oss-cn-hangzhou.aliyuncs.com/{CHAPTER}?")
            assert parse_qs(urlsplit(url).query)["x-oss-expires"] == ["60"]

    @pytest.mark.parametrize(
        "name", [f"oss://test-bucket-2/{CHAPTER}", f"oss://TEST-BUCKET/{CHAPTER}", "oss://test-bucket/"]
    )
    def test_another_bucket_is_denied(self, learner: Actor, use_oss: Callable[..., None], name: str) -> None:
        use_oss()

        assert error_code(resolve(learner, name)) == ErrorCode.ARTIFACT_ACCESS_DENIED

    def test_a_setting_that_is_no_address(self, learner: Actor, use_oss: Callable[..., None]) -> None:
        use_oss(OSS_ENDPOINT="not an address")

        response = resolve(learner, CHAPTER)

        assert response.status_code == 503
        assert error_code(response) == ErrorCode.STORAGE_UNAVAILABLE


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "artifact"),
        ({"artifact": ""}, "artifact"),
        ({"artifact": None}, "artifact"),
        ({"artifact": 5}, "artifact"),
        ({"artifact": ["x"]}, "artifact"),
        ({"artifact": {"a": "b"}}, "artifact"),
        ({"artifact": "x" * 2049}, "artifact"),
        ({"artifact": "a\x00b"}, "artifact"),
        ({"artifact": "x", "expires_seconds": 59}, "expires_seconds"),
        ({"artifact": "x", "expires_seconds": 3601}, "expires_seconds"),
        ({"artifact": "x", "expires_seconds": "900"}, "expires_seconds"),
        ({"artifact": "x", "expires_seconds": True}, "expires_seconds"),
        ({"artifact": "x", "expires_seconds": 900.5}, "expires_seconds"),
        ({"artifact": "x", "expires_seconds": 10**400}, "expires_seconds"),
        ([], "body"),
    ],
)
def test_invalid_fields(learner: Actor, body: Any, field: str) -> None:
    response = learner.post(PATH, body)

    assert response.status_code == 422
    assert error_code(response) == ErrorCode.VALIDATION_ERROR
    assert response.json()["error"]["details"][0]["field"] == field


@pytest.mark.parametrize("raw", [b'{"artifact": "\\ud800"}', b'{"artifact": "x", "expires_seconds": 1e400}'])
def test_what_json_allows_and_nothing_else_does(learner: Actor, raw: bytes) -> None:
    response = learner.client.post(PATH, raw, content_type="application/json")

    assert response.status_code == 422
    assert error_code(response) == ErrorCode.VALIDATION_ERROR


def test_malformed_json(learner: Actor) -> None:
    response = learner.client.post(PATH, b"{", content_type="application/json")

    assert error_code(response) == ErrorCode.MALFORMED_REQUEST


def test_needs_a_token(api: APIClient) -> None:
    assert error_code(api.post(PATH, {"artifact": CHAPTER}, format="json")) == ErrorCode.UNAUTHORIZED


def test_wrong_method(learner: Actor) -> None:
    assert error_code(learner.get(PATH)) == ErrorCode.METHOD_NOT_ALLOWED


def test_unknown_fields_are_ignored(learner: Actor) -> None:
    assert resolved(learner, CHAPTER, client=str(uuid.uuid4()))
