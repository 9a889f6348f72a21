"""The core flow of a client's first day over HTTP, for any server whose base URL is known."""

import hashlib
import uuid
from typing import Any

import httpx


def expect(response: httpx.Response, status: int) -> Any:
    assert response.status_code == status, f"{response.request.url}: {response.status_code} {response.text}"
    return response.json()


def download(descriptor: dict[str, Any]) -> bytes:
    content = httpx.get(descriptor["artifact_url"], timeout=30).raise_for_status().content
    assert len(content) == descriptor["size_bytes"]
    assert hashlib.sha256(content).hexdigest() == descriptor["sha256"]
    return content


def core_flow(base_url: str) -> None:
    """Register, log in on the same device, go on with the first token, join, chapters, both checks, progress, events.

    The server must show `dev_code` and hold the seed data.
    """
    with httpx.Client(base_url=f"{base_url}/v1", timeout=30) as http:
        email = f"flow-{uuid.uuid4().hex[:12]}@example.com"
        asked = expect(http.post("/auth/request-email-code", json={"email": email, "purpose": "register"}), 200)
        credentials = {"email": email, "password": "a good password", "device_id": "flow-device"}
        registered = expect(
            http.post("/auth/register", json={**credentials, "verification_code": asked["dev_code"]}), 201
        )
        expect(http.post("/auth/login", json=credentials), 200)

        http.headers = httpx.Headers(
            {"Authorization": f"Bearer {registered['access_token']}", "X-Device-Id": "flow-device"}
        )
        assert expect(http.get("/me"), 200)["id"] == registered["user"]["id"]
        course = expect(http.post("/courses/join", json={"course_code": "soc101"}), 200)["course"]
        assert [mine["id"] for mine in expect(http.get("/courses/my"), 200)["courses"]] == [course["id"]]
        expect(http.get(f"/courses/{course['id']}"), 200)
        chapters = expect(http.get(f"/courses/{course['id']}/chapters"), 200)["chapters"]
        assert [chapter["chapter_code"] for chapter in chapters] == ["ch1_intro", "ch2_pandas"]

        _updates(http, course["id"], chapters[0])
        _telemetry(http, course["id"], chapters[0])
        expect(http.post("/auth/logout", json={"refresh_token": registered["refresh_token"]}), 200)


def _updates(http: httpx.Client, course_id: str, chapter: dict[str, Any]) -> None:
    versions = {"desktop_version": "0.1.0", "sidecar_version": "0.1.0"}
    app = expect(http.post("/updates/check-app", json={**versions, "installed": {}}), 200)
    assert [item["bundle_type"] for item in app["required"]] == ["app_agents"]
    assert [item["bundle_type"] for item in app["optional"]] == ["experts_shared"]
    installed = {item["bundle_type"]: item["version"] for item in [*app["required"], *app["optional"]]}
    again = expect(http.post("/updates/check-app", json={**versions, "installed": installed}), 200)
    assert again == {"required": [], "optional": [], "blocked": []}

    for address, scope in ((chapter["chapter_code"], f"{course_id}/ch1_intro"), (chapter["id"], chapter["id"])):
        body = {"course_id": course_id, "chapter_id": address, "installed": {"chapter_bundle": None, "experts": {}}}
        checked = expect(http.post("/updates/check-chapter", json=body), 200)
        assert checked["required"][0]["scope_id"] == scope
        assert [item["scope_id"] for item in checked["required"][1:]] == ["data_inspector", "concept_explainer"]
        assert checked["resolved_chapter"]["chapter_id"] == address
    for descriptor in [*app["required"], *app["optional"], *checked["required"]]:
        download(descriptor)


def _telemetry(http: httpx.Client, course_id: str, chapter: dict[str, Any]) -> None:
    progress = {"course_id": course_id, "chapter_id": chapter["chapter_code"], "status": "IN_PROGRESS"}
    for _ in range(2):
        assert expect(http.post("/progress/chapter", json=progress), 200)["accepted"] is True
    event = {"event_type": "chapter_opened", "event_time": "2026-03-01T08:00:00Z", "course_id": course_id}
    for _ in range(2):
        answer = expect(http.post("/analytics/events:ingest", json={"events": [event]}), 200)
        assert (answer["accepted"], answer["failed"]) == (1, 0)
