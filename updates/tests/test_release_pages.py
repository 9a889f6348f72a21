"""The releases' pages: the list by scopes, what a release changes and would do, and releases registered by URL."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from config import limits
from config.places import Places
from config.uploads import slow_place
from courses.models import Chapter, Course, Enrollment
from tests.cast import Actor, make_actor
from updates.admin.outlook import amount
from updates.models import BundleRelease, ReleaseEvent
from updates.tests.shelf import APP, SHARED, chapter_scope, draft, publish, published, withdraw
from updates.tests.test_release_admin import choose, confirm, member_of, plain

LIST = "/admin/updates/bundlerelease/"
ADD_BY_FIELDS = f"{LIST}add/?by=fields"
ADD_BY_URL = f"{LIST}add/?by=url"

pytestmark = pytest.mark.django_db


def rows(response: Any) -> list[tuple[str, list[str]]]:
    """Return the list as it is shown: the scopes, and the versions below each."""
    return [(group.name, [item.release.version for item in group.items]) for group in response.context["cl"].groups()]


def many(count: int, prefix: str = "expert") -> None:
    """Make published releases, each of an expert of its own, without archives."""
    now = timezone.now()
    BundleRelease.objects.bulk_create(
        BundleRelease(
            bundle_type="experts",
            scope_id=f"{prefix}_{number}",
            version="1.0.0",
            artifact_key=f"bundles/{uuid.uuid4()}",
            sha256="0" * 64,
            size_bytes=1,
            state="published",
            cohort_key=uuid.uuid4(),
            published_at=now,
            first_published_at=now,
        )
        for number in range(count)
    )


def learners(course: Course, count: int, **versions: str) -> None:
    for number in range(count):
        actor = make_actor(f"learner{number}{versions.get('desktop_version', '')}")
        Enrollment.objects.create(user=actor.user, course=course)
        type(actor.session).objects.filter(pk=actor.session.pk).update(**versions)


def page_of(release: BundleRelease) -> str:
    return f"{LIST}{release.pk}/change/"


# --- The list ---------------------------------------------------------------------------------------------------


def test_releases_of_a_scope_stand_together_and_the_scope_that_changed_last_is_first(admin_page: Client) -> None:
    published(APP, "1.0.0")
    published(SHARED, "1.0.0")
    published(("experts", "alpha"), "1.0.0")
    published(APP, "2.0.0")
    draft(SHARED, "1.1.0")

    assert rows(admin_page.get(LIST)) == [
        ("shared", ["1.1.0", "1.0.0"]),
        ("core", ["2.0.0", "1.0.0"]),
        ("alpha", ["1.0.0"]),
    ]


def test_withdrawing_is_a_change_of_the_scope_too(admin_page: Client) -> None:
    old = published(APP)
    published(SHARED)
    withdraw(old)

    assert [name for name, _ in rows(admin_page.get(LIST))] == ["core", "shared"]


def test_another_order_can_be_asked_for(admin_page: Client) -> None:
    draft(APP, "1.0.0", files={"a.md": "a" * 10_000})
    draft(SHARED, "2.0.0")

    by_version = admin_page.get(f"{LIST}?o=-1")

    assert [release.version for release in by_version.context["cl"].result_list] == ["2.0.0", "1.0.0"]


def test_what_devices_are_offered_now_is_marked(admin_page: Client) -> None:
    published(APP, "1.0.0")
    published(APP, "2.0.0")
    published(APP, "3.0.0", rollout_basis_points=1_000)
    published(APP, "4.0.0", publish_at=timezone.now() + timedelta(days=1))
    draft(APP, "5.0.0")

    (group,) = admin_page.get(LIST).context["cl"].groups()

    assert [item.release.version for item in group.items if item.is_current] == ["2.0.0"]
    assert plain(admin_page.get(LIST)).count("Current") == 1


def test_ages_have_their_exact_times(admin_page: Client) -> None:
    release = published(APP)
    at = timezone.now() - timedelta(days=3, hours=2)
    BundleRelease.objects.filter(pk=release.pk).update(published_at=at)

    page = admin_page.get(LIST).content.decode()

    assert f'title="{at:%Y-%m-%d %H:%M} UTC">3\xa0days ago</time>' in page


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=app_ag", []),  # families are filters
        ("q=core", ["core"]),
        ("q=cor", ["core"]),
        ("q=ore", []),
        ("q=2.0", ["alpha"]),
        ("q=tst", ["TST100/ch1_intro"]),
        ("q=ch1", ["TST100/ch1_intro"]),
        ("q=Introd", ["TST100/ch1_intro"]),
        ("q=ntroduc", ["TST100/ch1_intro"]),
        ("q=tst100+1.0.0", ["TST100/ch1_intro"]),
        ("q=tst100+2.0.0", []),
        ("q=zzz", []),
        ("state__exact=draft", ["alpha"]),
        ("bundle_type__exact=chapter", ["TST100/ch1_intro"]),
        ("stage=rollout", ["TST100/ch1_intro"]),
        ("stage=scheduled", ["shared"]),
    ],
)
def test_search_and_filters(admin_page: Client, chapter: Chapter, query: str, found: list[str]) -> None:
    published(APP)
    published(chapter_scope(chapter), rollout_basis_points=5_000)
    published(SHARED, publish_at=timezone.now() + timedelta(days=1))
    draft(("experts", "alpha"), "2.0.0")

    assert [name for name, _ in rows(admin_page.get(f"{LIST}?{query}"))] == found


def test_a_release_is_found_by_the_beginning_of_its_checksum(admin_page: Client) -> None:
    release, _ = draft(APP), draft(SHARED)

    assert rows(admin_page.get(f"{LIST}?q={release.sha256[:12].upper()}")) == [("core", ["1.0.0"])]


def test_releases_of_a_course(admin_page: Client, course: Course) -> None:
    draft(chapter_scope(course.chapters.all()[0]))
    draft(APP)
    other = Course.objects.create(course_code="OTHER", title="Other")

    assert len(rows(admin_page.get(f"{LIST}?chapter__course__id__exact={course.pk}"))) == 1
    assert rows(admin_page.get(f"{LIST}?chapter__course__id__exact={other.pk}")) == []


def test_the_list_has_the_same_number_of_queries_for_one_and_many(
    admin_page: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    many(1)
    admin_page.get(LIST)
    # Session, user, count, the page's keys, its rows, and what is current in its scopes.
    with django_assert_num_queries(6):
        assert len(admin_page.get(LIST).context["cl"].result_list) == 1

    many(100, prefix="another")
    with django_assert_num_queries(6):
        assert len(admin_page.get(LIST).context["cl"].result_list) == 50


# --- The page of a release --------------------------------------------------------------------------------------


def test_a_draft_says_what_publishing_would_do(admin_page: Client, chapter: Chapter) -> None:
    published(chapter_scope(chapter), "1.0.0")
    release = draft(chapter_scope(chapter), "2.0.0", min_desktop_version="1.4.0")
    learners(chapter.course, 3, desktop_version="1.4.0")
    learners(chapter.course, 2, desktop_version="1.3.0")

    text = plain(admin_page.get(page_of(release)))

    assert "What publishing would do" in text
    assert "3 of 5 devices will be offered it now. It replaces 1.0.0." in text
    assert "2 devices have an app that is too old for it, and keep 1.0.0." in text


def test_a_share_makes_an_expected_number(admin_page: Client, chapter: Chapter) -> None:
    release = draft(chapter_scope(chapter), rollout_basis_points=5_000)
    learners(chapter.course, 4)

    text = plain(admin_page.get(page_of(release)))

    assert "About 2 of 4 devices will be offered it now." in text
    assert "Nothing is replaced" in text
    assert "At 50 % of devices" in text


def test_one_device_and_a_planned_time(admin_page: Client) -> None:
    make_actor("only")
    release = draft(APP, publish_at=timezone.now().replace(year=2099, month=1, day=2, hour=3, minute=4))

    text = plain(admin_page.get(page_of(release)))

    assert "2 of 2 devices will be offered it now." in text, "which is what Publish does"
    assert "It is planned for 2099-01-02 03:04 UTC: choose Schedule for that." in text
    shown = plain(choose(admin_page, "schedule", release))
    assert "2 of 2 devices will be offered it from 2099-01-02 03:04 UTC on." in shown


def test_a_roll_back_is_named(admin_page: Client) -> None:
    published(APP, "2.0.0")

    text = plain(admin_page.get(page_of(draft(APP, "1.0.0"))))

    assert "It replaces the newer 2.0.0: this is a roll-back." in text


def test_why_no_device_will_be_offered_it(admin_page: Client, chapter: Chapter) -> None:
    release = draft(chapter_scope(chapter))
    expert = draft(("experts", "alpha"))
    assert "no learner of the course was active in the last 30 days" in plain(admin_page.get(page_of(release)))
    assert "no chapter that learners have needs this expert" in plain(admin_page.get(page_of(expert)))

    Chapter.objects.filter(pk=chapter.pk).update(is_active=False)
    assert "its chapter or course is switched off" in plain(admin_page.get(page_of(release)))


def test_a_published_release_says_what_it_does(admin_page: Client, chapter: Chapter) -> None:
    release = published(chapter_scope(chapter), rollout_basis_points=2_500)
    learners(chapter.course, 4)

    text = plain(admin_page.get(page_of(release)))

    assert "Who is offered it now" in text
    assert "About 1 of 4 devices are offered it now." in text


def test_a_scheduled_release_says_what_will_happen(admin_page: Client) -> None:
    release = published(APP, publish_at=timezone.now().replace(year=2099, month=1, day=2, hour=3, minute=4))

    text = plain(admin_page.get(page_of(release)))

    assert "What will happen" in text
    assert "1 of 1 device will be offered it from 2099-01-02 03:04 UTC on." in text


def test_files_are_a_tree(admin_page: Client) -> None:
    release = draft(APP, files={"prompts/deep/a.md": "a", "prompts/b.md": "bb", "c.md": "ccc"})

    text = plain(admin_page.get(page_of(release)))

    assert "3 files, 6 bytes" in text
    assert "prompts/ 2 files, 3 bytes deep/ 1 file, 1 byte a.md 1 byte b.md 2 bytes c.md 3 bytes" in text


def test_what_is_not_shown_is_counted(admin_page: Client) -> None:
    published(APP, "0.9.0")
    release = draft(APP)
    files = [
        {"path": f"f{number}.md", "sha256": "a" * 64, "size_bytes": 1}
        for number in range(limits.RELEASE_FILES_SHOWN + 3)
    ]
    BundleRelease.objects.filter(pk=release.pk).update(manifest={"files": [*files, "no file"]})

    text = plain(admin_page.get(page_of(release)))

    assert "3 more files are not shown." in text
    assert "1 entry of the manifest describes no file." in text
    changes = limits.RELEASE_FILES_SHOWN + 4 - limits.RELEASE_CHANGES_SHOWN
    assert f"{changes} more files differ; they are not shown." in text


def test_the_difference_to_what_it_replaces(admin_page: Client) -> None:
    old = published(APP, "1.0.0")
    release = draft(APP, "2.0.0", files={"prompt.md": "other\n", "new.md": "new"})

    page = admin_page.get(page_of(release))

    assert "What changes from 1.0.0" in plain(page)
    assert "1 added, 1 changed, 0 removed, 0 the same." in plain(page)
    assert [(item.change.path, item.change.kind.value) for item in page.context["changes"]] == [
        ("new.md", "added"),
        ("prompt.md", "changed"),
    ]
    assert page.context["replaced"] == old


def test_a_published_release_is_compared_with_what_it_replaced(admin_page: Client) -> None:
    published(APP, "1.0.0")
    middle = published(APP, "2.0.0")
    published(APP, "3.0.0")

    assert "What changes from 1.0.0" in plain(admin_page.get(page_of(middle)))


def test_the_first_release_of_a_scope_replaces_nothing(admin_page: Client) -> None:
    assert "all of its files are new" in plain(admin_page.get(page_of(draft(APP))))


def test_a_page_has_no_more_queries_with_more_files_and_devices(
    admin_page: Client, chapter: Chapter, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    published(chapter_scope(chapter), "1.0.0")
    names = ("chapter_context", "task_list", "task_completion_principles")
    few = {f"prompts/{name}.md": "x" for name in names}
    small = draft(chapter_scope(chapter), "2.0.0", files=few)
    large = draft(chapter_scope(chapter), "3.0.0", files={**few, **{f"more/{number}.md": "x" for number in range(100)}})
    learners(chapter.course, 1)
    admin_page.get(page_of(small))

    # Session, user, release, its manifest, what it replaces; published, enrolments and devices of its reach.
    with django_assert_num_queries(8):
        admin_page.get(page_of(small))
    learners(chapter.course, 5, desktop_version="1.0.0")
    with django_assert_num_queries(8):
        admin_page.get(page_of(large))


# --- Line by line -----------------------------------------------------------------------------------------------


def difference(page: Client, release: BundleRelease, before: BundleRelease, path: str, **more: str) -> Any:
    return page.get(f"{LIST}{release.pk}/difference/", {"to": str(before.pk), "path": path, **more})


def test_the_lines_that_differ_are_a_page_and_a_part_of_one(admin_page: Client) -> None:
    old = published(APP, "1.0.0", files={"a.md": "same\nold <b>line</b>\n"})
    release = draft(APP, "2.0.0", files={"a.md": "same\nnew <b>line</b>\n"})
    (item,) = admin_page.get(page_of(release)).context["changes"]

    whole = admin_page.get(item.url)
    part = difference(admin_page, release, old, "a.md", part="1")

    for response in (whole, part):
        text = response.content.decode()
        assert "old &lt;b&gt;line&lt;/b&gt;" in text
        assert "new &lt;b&gt;line&lt;/b&gt;" in text
        assert "<b>line" not in text
    assert "From 1.0.0 to 2.0.0: Changed" in plain(whole)
    assert "<html" in whole.content.decode()
    assert "<html" not in part.content.decode()


def test_a_name_of_strangers_is_escaped(admin_page: Client) -> None:
    release = draft(APP)
    name = "<script>alert(1)</script>\u202e&to=x"
    old = published(APP, "0.9.0")
    BundleRelease.objects.filter(pk=release.pk).update(
        manifest={"files": [{"path": name, "sha256": "a" * 64, "size_bytes": 1}]}
    )

    page = admin_page.get(page_of(release))
    (item,) = [item for item in page.context["changes"] if item.change.path == name]
    lines = admin_page.get(item.url)

    for response in (page, lines):
        assert response.status_code == 200
        assert "<script>alert(1)" not in response.content.decode()
        assert "\u202e" not in response.content.decode()
    assert lines.context["before"] == old
    assert "another file there" in plain(lines)


def test_what_is_not_in_both_scopes_is_not_found(admin_page: Client) -> None:
    old, release, other = published(APP, "1.0.0"), draft(APP, "2.0.0"), published(SHARED)

    assert difference(admin_page, release, old, "prompt.md").status_code == 200
    assert difference(admin_page, release, old, "nothing.md").status_code == 404
    assert difference(admin_page, release, other, "prompt.md").status_code == 404
    assert admin_page.get(f"{LIST}{release.pk}/difference/?to=x&path=prompt.md").status_code == 404
    assert admin_page.get(f"{LIST}{uuid.uuid4()}/difference/?to={old.pk}&path=prompt.md").status_code == 404


def test_a_large_file_has_no_lines(admin_page: Client) -> None:
    published(APP, "1.0.0")
    release = draft(APP, "2.0.0", files={"large.md": "x" * (limits.TEXT_DIFF_FILE_MAX_BYTES + 1)})

    urls = {item.change.path: item.url for item in admin_page.get(page_of(release)).context["changes"]}

    assert urls["large.md"] == ""
    assert urls["prompt.md"]


def test_bytes_that_lie_elsewhere_are_told(admin_page: Client) -> None:
    old = published(APP, "1.0.0")
    BundleRelease.objects.filter(pk=old.pk).update(artifact_key="", external_url="https://example.com/a.tar.gz")

    assert "lies elsewhere" in plain(difference(admin_page, draft(APP, "2.0.0"), old, "prompt.md"))


def test_lines_hold_a_place_of_slow_work(admin_page: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two archives are unpacked: whoever asks many times at once must not hold all threads."""
    old, release = published(APP, "1.0.0"), draft(APP, "2.0.0")
    monkeypatch.setattr("config.uploads._places", Places(1))

    with slow_place():
        assert "The server is busy" in plain(difference(admin_page, release, old, "prompt.md"))
    assert "Version 2.0.0" in plain(difference(admin_page, release, old, "prompt.md"))


def test_lines_are_for_those_who_may_see_releases() -> None:
    old, release = published(APP, "1.0.0"), draft(APP, "2.0.0")
    nobody = make_actor("nobody", is_staff=True)
    browser = Client()
    assert difference(browser, release, old, "prompt.md").status_code == 302
    browser.force_login(nobody.user)
    assert difference(browser, release, old, "prompt.md").status_code == 403

    nobody.user.user_permissions.add(Permission.objects.get(codename="view_bundlerelease"))
    assert difference(browser, release, old, "prompt.md").status_code == 200


# --- The pages before an act ------------------------------------------------------------------------------------


def test_the_page_before_publishing_says_how_many_devices(admin_page: Client, chapter: Chapter) -> None:
    published(chapter_scope(chapter), "1.0.0")
    release = draft(chapter_scope(chapter), "2.0.0", rollout_basis_points=5_000)
    learners(chapter.course, 4)

    page = choose(admin_page, "publish", release)

    assert "About 2 of 4 devices will be offered it now. It replaces 1.0.0." in plain(page)
    shown = page.content.decode()
    assert 'data-at-none="0.0" data-at-all="4.0"' in shown, "what the page computes another share from"
    assert "{amount} of 4 devices will be offered it from {time} on." in shown


def test_a_refused_act_says_it_for_what_was_entered(admin_page: Client, chapter: Chapter) -> None:
    release = draft(chapter_scope(chapter), experts=("alpha",))
    learners(chapter.course, 4)

    page = confirm(admin_page, "schedule", release, rollout_percent="25", publish_at="2099-01-02T03:04")

    assert "Nothing was done." in plain(page)
    assert "About 1 of 4 devices will be offered it from 2099-01-02 03:04 UTC on." in plain(page)


def test_each_of_several_releases_has_its_own_number(admin_page: Client, chapter: Chapter) -> None:
    learners(chapter.course, 2)
    first, second = draft(chapter_scope(chapter)), draft(APP)

    text = plain(choose(admin_page, "publish", first, second))

    assert "2 of 2 devices will be offered it now." in text
    assert "3 of 3 devices will be offered it now." in text, "staff have a device here as well"


def test_the_page_before_widening_says_how_many_devices(admin_page: Client, chapter: Chapter) -> None:
    release = published(chapter_scope(chapter), rollout_basis_points=2_500)
    learners(chapter.course, 8)

    text = plain(choose(admin_page, "widen", release))

    assert "About 4 of 8 devices will be offered it now. It is about 2 now." in text


def test_the_page_before_withdrawing_says_how_many_devices(admin_page: Client, chapter: Chapter) -> None:
    published(chapter_scope(chapter), "1.0.0")
    release = published(chapter_scope(chapter), "2.0.0")
    learners(chapter.course, 3)

    text = plain(choose(admin_page, "withdraw", release))

    assert "3 of 3 devices are offered it now." in text
    assert "Devices that have it go back to 1.0.0 at their next check." in text


def test_large_numbers_are_rounded() -> None:
    assert [amount(n, is_exact=False) for n in (0.4, 99.4, 123, 1_250_000)] == [
        "about 0",
        "about 99",
        "about 120",
        "about 1,200,000",
    ]
    assert amount(1_234, is_exact=True) == "1,234"


# --- By URL -----------------------------------------------------------------------------------------------------

REGISTRATION = {
    "bundle_type": "app_agents",
    "chapter": "",
    "scope_id": "core",
    "version": "1.0.0",
    "external_url": "https://example.com/bundle.tar.gz",
    "sha256": "A" * 64,
    "size_bytes": "123",
    "is_mandatory": "on",
    "min_desktop_version": "",
    "min_sidecar_version": "",
    "rollout_basis_points": "100",
    "publish_at_0": "",
    "publish_at_1": "",
}


def test_a_release_is_registered_by_its_url(admin_page: Client, staff: Actor) -> None:
    assert ADD_BY_URL in admin_page.get(f"{LIST}add/").content.decode()
    assert ADD_BY_FIELDS in admin_page.get(ADD_BY_URL).content.decode()
    assert 'name="external_url"' in admin_page.get(ADD_BY_FIELDS).content.decode()

    page = admin_page.post(ADD_BY_FIELDS, REGISTRATION, follow=True)

    release = BundleRelease.objects.get()
    assert page.redirect_chain == [(page_of(release), 302)]
    assert (release.external_url, release.sha256, release.size_bytes) == (REGISTRATION["external_url"], "a" * 64, 123)
    assert (release.state, release.artifact_key, release.created_by) == ("draft", "", staff.user)
    assert "Check the stored file: the archive is fetched" in plain(page)
    assert "verify it" in " ".join(str(message) for message in page.context["messages"])
    assert ReleaseEvent.objects.get().action == "created"


def test_a_chapter_is_registered_by_its_url(admin_page: Client, chapter: Chapter) -> None:
    fields = {**REGISTRATION, "bundle_type": "chapter", "scope_id": "", "chapter": str(chapter.pk)}

    assert admin_page.post(ADD_BY_FIELDS, fields).status_code == 302
    assert BundleRelease.objects.get().chapter == chapter


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("external_url", "http://example.com/bundle.tar.gz"),
        ("external_url", "https://me:secret@example.com/bundle.tar.gz"),
        ("external_url", "no url"),
        ("external_url", ""),
        ("sha256", "a" * 63),
        ("sha256", ""),
        ("size_bytes", "0"),
        ("size_bytes", str(limits.BUNDLE_ARCHIVE_MAX_BYTES + 1)),
        ("version", "1.0"),
        ("scope_id", "other"),
    ],
)
def test_wrong_fields_of_a_registration_are_errors_of_the_form(admin_page: Client, field: str, value: str) -> None:
    response = admin_page.post(ADD_BY_FIELDS, {**REGISTRATION, field: value})

    assert set(response.context["adminform"].form.errors) == {field}
    assert not BundleRelease.objects.exists()


def test_other_bytes_under_a_version_that_exists_are_refused(admin_page: Client) -> None:
    draft(APP)

    response = admin_page.post(ADD_BY_FIELDS, REGISTRATION)

    assert "exists already with other bytes" in response.context["adminform"].form.non_field_errors()[0]


# --- Who may ----------------------------------------------------------------------------------------------------


def test_an_author_sees_the_preview_but_no_way_to_publish(chapter: Chapter) -> None:
    browser, _ = member_of("Authors")
    release = draft(chapter_scope(chapter))

    page = browser.get(page_of(release))

    assert "What publishing would do" in plain(page)
    assert "You may not publish." in plain(page)
    assert 'value="publish"' not in page.content.decode()
    confirm(browser, "publish", release, rollout_percent="100")
    release.refresh_from_db()
    assert release.state == "draft"


def test_an_author_registers_by_url_and_a_tester_does_not() -> None:
    author, _ = member_of("Authors")
    assert author.post(ADD_BY_FIELDS, REGISTRATION).status_code == 302
    release = BundleRelease.objects.get()

    tester, actor = member_of("Testers")
    assert actor.user.groups.get() == Group.objects.get(name="Testers")
    assert tester.get(ADD_BY_FIELDS).status_code == 403
    assert tester.post(ADD_BY_FIELDS, {**REGISTRATION, "version": "2.0.0"}).status_code == 403
    assert tester.get(page_of(release)).status_code == 403


def test_a_publisher_has_the_buttons() -> None:
    browser, _ = member_of("Publishers")
    release = draft(APP, rollout_basis_points=1_000)

    assert 'value="publish"' in browser.get(page_of(release)).content.decode()
    publish(release)
    shown = browser.get(page_of(release)).content.decode()
    assert 'value="widen"' in shown
    assert 'value="withdraw"' in shown
