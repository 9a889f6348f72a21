"""/openapi.json and /docs"""

import re
from typing import Any

import pytest
from rest_framework.test import APIClient

from config.errors import ErrorCode


@pytest.fixture
def document(api: APIClient) -> dict[str, Any]:
    response = api.get("/openapi.json")
    assert response.status_code == 200
    return dict(response.json())


def operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def test_all_calls_of_the_contract_are_described(document: dict[str, Any]) -> None:
    assert {name for name, _ in operations(document)} == {
        "post /v1/auth/request-email-code",
        "post /v1/auth/register",
        "post /v1/auth/login",
        "post /v1/auth/refresh",
        "post /v1/auth/logout",
        "get /v1/me",
        "get /v1/courses/my",
        "post /v1/courses/join",
        "get /v1/courses/{course_id}",
        "get /v1/courses/{course_id}/chapters",
        "post /v1/updates/check-app",
        "post /v1/updates/check-chapter",
        "get /v1/admin/bundles",
        "post /v1/admin/bundles/upload",
        "post /v1/admin/bundles/publish",
        "get /v1/admin/bundles/{id}",
        "delete /v1/admin/bundles/{id}",
        "post /v1/admin/bundles/{id}/publish",
        "post /v1/admin/bundles/{id}/reschedule",
        "post /v1/admin/bundles/{id}/withdraw",
        "post /v1/admin/bundles/{id}/rollout",
        "post /v1/admin/bundles/{id}/verify",
        "post /v1/oss/download-credentials",
        "post /v1/oss/resolve-artifact-url",
        "post /v1/progress/chapter",
        "post /v1/analytics/events:ingest",
        "get /artifacts/{key}",
        "get /healthz",
    }


def test_each_has_a_summary_a_group_and_a_plain_id(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        assert operation["summary"], name
        assert operation["tags"] != ["v1"], name
        assert re.fullmatch(r"\w+", operation["operationId"]), name
        assert "viewset" not in operation.get("description", "").lower(), name


def test_each_lists_the_codes_that_it_can_answer(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        for status, answer in operation["responses"].items():
            if not status.startswith(("4", "5")):
                continue
            error = answer["content"]["application/json"]["schema"]["properties"]["error"]
            codes = error["properties"]["code"]["enum"]
            assert codes, (name, status)
            assert {ErrorCode(code) for code in codes}, (name, status)  # type: ignore[call-arg]
        assert {"500", "503"} <= set(operation["responses"]), name


def test_protected_calls_say_so(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        path = name.split(" ")[1]
        of_pipelines = path.startswith("/v1/admin/")
        of_learners = path.startswith("/v1/") and "/auth/" not in name and not of_pipelines
        accepted: list[dict[str, list[str]]] = (
            [{"apiToken": []}, {"adminKey": []}] if of_pipelines else [{"accessToken": []}]
        )
        assert operation["security"] == (accepted if of_learners or of_pipelines else [{}]), name
        refuses = of_learners or of_pipelines or name.endswith(("login", "refresh"))
        assert ("401" in operation["responses"]) == refuses, name


def test_an_upload_is_a_form_with_a_file(document: dict[str, Any]) -> None:
    upload = document["paths"]["/v1/admin/bundles/upload"]["post"]
    assert list(upload["requestBody"]["content"]) == ["multipart/form-data"]
    form = document["components"]["schemas"]["UploadRequest"]
    assert form["properties"]["file"]["format"] == "binary"
    assert set(form["required"]) == {"file", "bundle_type", "scope_id", "version"}
    assert {"200", "201", "409", "413", "415", "422"} <= set(upload["responses"])


def test_the_docs_page(api: APIClient) -> None:
    page = api.get("/docs")
    assert page.status_code == 200
    assert "/openapi.json" in page.content.decode()
