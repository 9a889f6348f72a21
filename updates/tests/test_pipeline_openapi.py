"""How the pipeline's calls are documented."""

from typing import Any

import pytest
from rest_framework.test import APIClient

REQUESTS = ("Upload", "RegisterBundle", "Publish", "Reschedule", "Withdraw", "Rollout")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    answer: Any = APIClient().get("/openapi.json")
    return dict(answer.json())


@pytest.mark.parametrize("name", REQUESTS)
def test_unknown_fields_are_refused(document: dict[str, Any], name: str) -> None:
    assert document["components"]["schemas"][f"{name}Request"]["additionalProperties"] is False


def test_the_calls_of_the_desktop_stay_lenient(document: dict[str, Any]) -> None:
    strict = [name for name, schema in document["components"]["schemas"].items() if "additionalProperties" in schema]
    assert sorted(strict) == sorted(f"{n}Request" for n in REQUESTS)


def test_errors_are_described_for_pipelines(document: dict[str, Any]) -> None:
    answers = document["paths"]["/v1/admin/bundles/upload"]["post"]["responses"]
    assert "multipart/form-data" in answers["415"]["description"]
    assert "application/json" not in answers["415"]["description"]
    assert "API token" in answers["401"]["description"]
    assert "log in" not in answers["401"]["description"]
    assert "log in" in document["paths"]["/v1/me"]["get"]["responses"]["401"]["description"]


@pytest.mark.parametrize(("answer", "always"), [("Detail", True), ("Made", True), ("Checked", False), ("Act", False)])
def test_what_only_readers_get_is_optional(document: dict[str, Any], answer: str, always: bool) -> None:
    schema = document["components"]["schemas"][f"{answer}Answer"]
    assert ("artifact_url" in schema["required"]) == always
    assert "artifact_url" in schema["properties"]
