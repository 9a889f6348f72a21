"""What staff do with releases, from the upload in a browser to what a learner's device is answered."""

import re
import time
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import Permission
from playwright.sync_api import FilePayload, Page, expect

from accounts.models import User
from courses.models import Chapter, Course
from tests.browser.pages import PHONE, assert_good_in_every_look, login, look_at
from tests.cast import PASSWORD, Actor, make_actor
from updates.models import BundleRelease
from updates.tests.archives import packed
from updates.tests.shelf import APP, SHARED, a_bundle, chapter_scope, default_files, draft, published

SEEN_WITHIN_SECONDS = 5.0

# What the group Authors has; tests that empty the tables take the group away.
AUTHOR = (
    "updates.view_bundlerelease",
    "updates.add_bundlerelease",
    "updates.change_bundlerelease",
    "updates.view_releaseevent",
    "courses.view_course",
    "courses.view_chapter",
)


@pytest.fixture
def boss(transactional_db: None) -> User:
    return make_actor("boss", is_staff=True, is_superuser=True).user


def archive(scope: tuple[str, str], version: str, files: dict[str, str]) -> FilePayload:
    with a_bundle(scope, version, files=files) as bundle:
        return {"name": "bundle.tar.gz", "mimeType": "application/gzip", "buffer": bundle.file.read()}


def press(page: Page, button: str) -> None:
    """Press a button of the page itself, not of the frame around it."""
    page.locator("#main").get_by_role("button", name=button, exact=True).click()


def page_of(release: BundleRelease) -> str:
    return f"/admin/updates/bundlerelease/{release.pk}/change/"


class Device:
    """The learner's device at the server: it asks for a chapter, and notes what it was offered as installed."""

    def __init__(self, site: str, learner: Actor, chapter: Chapter) -> None:
        self.site = site
        self.headers = {"Authorization": f"Bearer {learner.access_token}"}
        self.chapter = chapter
        self.installed: str | None = None

    def post(self, path: str, body: Any) -> Any:
        response = httpx.post(f"{self.site}{path}", json=body, headers=self.headers)
        assert response.status_code == 200, response.text
        return response.json()

    def check(self) -> str | None:
        """Return the version that it has after a check."""
        body = {
            "course_id": str(self.chapter.course_id),
            "chapter_id": self.chapter.chapter_code,
            "installed": {"chapter_bundle": self.installed, "experts": {}},
        }
        for item in self.post("/v1/updates/check-chapter", body)["required"]:
            content = httpx.get(item["artifact_url"]).raise_for_status().content
            assert len(content) == item["size_bytes"]
            self.installed = item["version"]
        return self.installed

    def gets(self, version: str) -> None:
        """Check until it has this version: a worker's picture of the releases may be some moments old."""
        deadline = time.monotonic() + SEEN_WITHIN_SECONDS
        while (has := self.check()) != version:
            assert time.monotonic() < deadline, f"It has {has}."
            time.sleep(0.1)


def test_upload_look_publish_to_a_tenth_widen_withdraw_and_publish_again(
    page: Page, site: str, boss: User, learner: Actor, chapter: Chapter
) -> None:
    scope = chapter_scope(chapter)
    published(scope, "1.0.0")
    device = Device(site, learner, chapter)
    device.gets("1.0.0")

    # Log in by the form, and upload.
    page.goto("/admin/")
    page.get_by_label("Email").fill(boss.email)
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Releases", exact=True).click()
    page.goto("/admin/updates/bundlerelease/add/")
    files = default_files(scope, "1.0.0") | {
        "prompts/task_list.md": "Count the beans.\n",
        "datasets/beans.csv": "n\n1\n",
    }
    page.locator("input[type=file]").set_input_files(archive(scope, "1.1.0", files))
    press(page, "Upload")
    expect(page.get_by_text("It is a draft until somebody publishes it.")).to_be_visible()

    # The preview: the files, what changes, and what publishing would do.
    expect(page.get_by_role("heading", name="What publishing would do")).to_be_visible()
    expect(page.get_by_role("heading", name="What changes from 1.0.0")).to_be_visible()
    changes = page.get_by_role("region", name="What changes from 1.0.0")
    expect(changes.get_by_role("listitem").filter(has_text="datasets/beans.csv")).to_contain_text("Added")
    changed = changes.get_by_role("listitem").filter(has_text="prompts/task_list.md")
    changed.locator("summary").press("Enter")
    expect(changed.get_by_text("Count the beans.")).to_be_visible()
    expect(changed.get_by_text("Version 1.0.0")).to_be_visible()
    assert_good_in_every_look(page)

    # To a tenth of the devices.
    press(page, "Publish")
    page.get_by_label("Share of devices (%)").fill("10")
    expect(page.get_by_text("1 release will be offered to 10 % of devices from now on.")).to_be_visible()
    assert_good_in_every_look(page, reload=False)
    press(page, "Publish")
    expect(page.get_by_text("Published, and offered to 10 % of devices from now on")).to_be_visible()
    release = BundleRelease.objects.get(version="1.1.0")
    assert (release.state, release.rollout_basis_points) == ("published", 1_000)

    # To everybody; on a phone.
    look_at(page, PHONE)
    page.goto(page_of(release))
    press(page, "Widen the rollout")
    page.get_by_label("Share of devices (%)").fill("100")
    press(page, "Widen the rollout")
    expect(page.get_by_text("Offered to 100 % of devices now")).to_be_visible()
    device.gets("1.1.0")

    # Taken back, and published again.
    page.goto(page_of(release))
    press(page, "Withdraw")
    expect(page.get_by_text("Devices that have it go back to 1.0.0 at their next check.")).to_be_visible()
    press(page, "Withdraw")
    expect(page.get_by_text("Withdrawn: Chapter TST100/ch1_intro 1.1.0.")).to_be_visible()
    device.gets("1.0.0")
    page.goto(page_of(release))
    press(page, "Publish again")
    press(page, "Publish")
    expect(page.get_by_text("Published, and offered to 100 % of devices from now on")).to_be_visible()
    device.gets("1.1.0")


def test_two_releases_are_published_together_and_move_as_one(page: Page, boss: User) -> None:
    app, shared = draft(APP, "2.0.0"), draft(SHARED, "3.0.0")
    login(page, boss)
    page.goto("/admin/updates/bundlerelease/?all=1")
    for version in ("2.0.0", "3.0.0"):
        page.get_by_role("row").filter(has_text=version).get_by_role("checkbox").check()
    page.get_by_label("Select action to run").select_option("Publish")
    page.get_by_role("button", name="Run").click()
    page.get_by_label("Share of devices (%)").fill("10")
    expect(page.get_by_text("2 releases will be offered to 10 % of devices from now on.")).to_be_visible()
    press(page, "Publish")
    expect(page.get_by_text("Published, and offered to 10 % of devices from now on")).to_be_visible()
    app.refresh_from_db()
    shared.refresh_from_db()
    assert app.cohort_key == shared.cohort_key
    assert app.cohort_key is not None

    page.goto(page_of(app))
    press(page, "Widen the rollout")
    expect(page.get_by_text("Published with it, and widened together")).to_be_visible()
    page.get_by_label("Share of devices (%)").fill("50")
    press(page, "Widen the rollout")
    expect(page.get_by_text("Offered to 50 % of devices now")).to_be_visible()
    shared.refresh_from_db()
    assert shared.rollout_basis_points == 5_000


def test_a_refused_archive_shows_its_reason_on_the_form_and_on_the_first_page(page: Page, boss: User) -> None:
    login(page, boss)
    page.goto("/admin/updates/bundlerelease/add/")
    page.locator("summary", has_text="For whom, and from when").press("Enter")
    page.get_by_label("Rollout (%)").fill("5")
    bad = packed({"readme.md": b"no manifest"}).read()
    payload: FilePayload = {"name": "bundle.tar.gz", "mimeType": "application/gzip", "buffer": bad}
    page.locator("input[type=file]").set_input_files(payload)
    press(page, "Upload")
    expect(page.get_by_text("The archive has no bundle.manifest.json at its root.")).to_be_visible()
    expect(page.get_by_text("Choose the file once more: browsers don't keep it.")).to_be_visible()
    expect(page.locator("input[name=rollout_basis_points]")).to_have_value("5")
    assert_good_in_every_look(page, reload=False)
    assert not BundleRelease.objects.exists()
    page.goto("/admin/")
    expect(page.get_by_text("1 upload or act failed in the last 24 hours.")).to_be_visible()
    expect(page.get_by_text("The archive has no bundle.manifest.json at its root.")).to_be_visible()


def test_a_chapter_is_chosen_for_an_archive_that_names_no_course(page: Page, boss: User, chapter: Chapter) -> None:
    login(page, boss)
    page.goto("/admin/updates/bundlerelease/add/")
    file = archive(("chapter", "ch1_intro"), "1.0.0", default_files(("chapter", "ch1_intro"), "1.0.0"))
    page.locator("input[type=file]").set_input_files(file)
    press(page, "Upload")
    expect(page.get_by_text("The archive is for ch1_intro, which names no chapter of a course here.")).to_be_visible()

    page.get_by_role("combobox", name=re.compile(r"^Chapter\b")).press("Enter")
    page.keyboard.type("tst100 ch1")
    page.get_by_role("option", name="TST100 ch1_intro").click()
    page.locator("input[type=file]").set_input_files(file)
    press(page, "Upload")
    expect(page.get_by_text("It is a draft until somebody publishes it.")).to_be_visible()
    assert BundleRelease.objects.get().chapter == chapter


def test_an_author_uploads_but_can_not_publish(page: Page) -> None:
    author = make_actor("author", is_staff=True).user
    for name in AUTHOR:
        app_label, _, codename = name.partition(".")
        author.user_permissions.add(Permission.objects.get(content_type__app_label=app_label, codename=codename))
    login(page, author)
    page.goto("/admin/updates/bundlerelease/add/")
    page.locator("input[type=file]").set_input_files(archive(APP, "1.0.0", default_files(APP, "1.0.0")))
    press(page, "Upload")
    expect(page.get_by_text("You may not publish. Ask somebody of the group Publishers.")).to_be_visible()
    expect(page.get_by_role("button", name="Publish")).to_have_count(0)
    assert BundleRelease.objects.get().state == "draft"


def test_a_course_is_copied_to_a_new_semester_and_its_learners_get_content(
    page: Page, site: str, boss: User, chapter: Chapter, outsider: Actor
) -> None:
    published(chapter_scope(chapter), "1.0.0")
    login(page, boss)
    page.goto(f"/admin/courses/course/{chapter.course_id}/change/")
    page.get_by_role("link", name="Copy to a new semester").click()
    page.get_by_label("Course code").fill("TST100-27")
    page.get_by_label("Semester").fill("2027 Spring")
    assert_good_in_every_look(page)
    page.get_by_label("Course code").fill("TST100-27")
    page.get_by_label("Semester").fill("2027 Spring")
    press(page, "Copy the course")
    expect(page.get_by_text("TST100 was copied.")).to_be_visible()

    copied = Course.objects.get(course_code="TST100-27")
    device = Device(site, outsider, copied.chapters.get(chapter_code="ch1_intro"))
    joined = device.post("/v1/courses/join", {"invite_code": copied.invite_code})
    assert joined["course"]["semester"] == "2027 Spring"
    device.gets("1.0.0")
