"""What all pages of the admin share: the language, the menu at the side, charts with their numbers."""

from html.parser import HTMLParser
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.contrib.staticfiles import finders
from django.template.loader import render_to_string
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from config.charts import Chart, Series
from courses.models import Course
from tests.cast import Actor, make_actor

INDEX = reverse("admin:index")
CHINESE = {"HTTP_ACCEPT_LANGUAGE": "zh-CN,zh;q=0.9,en;q=0.5"}


class Links(HTMLParser):
    """Collects the addresses that a part of a page leads to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if tag == "a" and name == "href" and value]


def menu_of(client: Client) -> set[str]:
    """Return the addresses of the menu."""
    page = client.get(INDEX).content.decode()
    begin = page.index('id="nav-sidebar-apps"')
    links = Links()
    links.feed(page[begin : page.index("</nav>", begin)])
    return {
        link for link in links.found if link.startswith("/admin/") and link not in (INDEX, "/admin/password_change/")
    }


# --- The language -----------------------------------------------------------------------------------------------


def test_the_admin_speaks_the_language_of_the_browser(client: Client, db: None) -> None:
    page = client.get("/admin/login/", **CHINESE)  # type: ignore[arg-type]
    text = page.content.decode()
    assert "登录" in text
    assert '<html lang="zh-hans"' in text
    assert page["Content-Language"] == "zh-hans"
    assert "Accept-Language" in page["Vary"]


@pytest.mark.parametrize("wanted", ["", "fr", "en-GB", "*", "nonsense;;;q=x"])
def test_the_admin_speaks_english_to_everybody_else(client: Client, db: None, wanted: str) -> None:
    page = client.get("/admin/login/", HTTP_ACCEPT_LANGUAGE=wanted)
    assert "Log in" in page.content.decode()
    assert page["Content-Language"] == "en"


def test_the_api_speaks_english_also_after_a_chinese_page(client: Client, api: APIClient, db: None) -> None:
    client.get("/admin/login/", **CHINESE)  # type: ignore[arg-type]
    answer = api.post("/v1/auth/login", {"email": "nobody"}, format="json", headers={"accept-language": "zh-CN"})
    assert answer.status_code == 422
    assert answer.json()["error"]["message"].isascii()
    assert all(detail["message"].isascii() for detail in answer.json()["error"]["details"])
    assert "Content-Language" not in answer.headers


# --- The menu ---------------------------------------------------------------------------------------------------


def test_a_superuser_sees_the_whole_menu(admin_page: Client) -> None:
    menu = menu_of(admin_page)
    assert len(menu) >= 9
    for link in menu:
        assert admin_page.get(link).status_code == 200, link


@pytest.mark.parametrize(
    ("codename", "link"),
    [
        ("view_course", "/admin/courses/course/"),
        ("change_course", "/admin/courses/course/"),
        ("view_bundlerelease", "/admin/updates/bundlerelease/"),
        ("view_user", "/admin/accounts/user/"),
    ],
)
def test_the_menu_has_what_a_person_may_see_only(client: Client, db: None, codename: str, link: str) -> None:
    person = make_actor("assistant", is_staff=True).user
    person.user_permissions.add(Permission.objects.get(codename=codename))
    client.force_login(person)
    assert menu_of(client) == {link}
    assert client.get(link).status_code == 200


def test_the_menu_costs_the_same_for_everybody(client: Client, db: None, django_assert_max_num_queries: Any) -> None:
    client.force_login(make_actor("assistant", is_staff=True).user)
    with django_assert_max_num_queries(12):
        client.get(INDEX)


def test_what_the_pages_ask_for_is_there(admin_page: Client) -> None:
    page = admin_page.get(INDEX).content.decode()
    for name in ("config/admin.css", "config/admin.js", "config/favicon.svg"):
        assert f"/static/{name}" in page
        assert finders.find(name)


def test_who_is_logged_out_sees_nothing(client: Client, learner: Actor) -> None:
    client.force_login(learner.user)
    assert client.get(INDEX).status_code == 302


# --- The first page ---------------------------------------------------------------------------------------------


def test_all_is_well_only_for_who_sees_all(admin_page: Client, client: Client) -> None:
    assert "Everything is all right." in admin_page.get(INDEX).content.decode()
    person = make_actor("assistant", is_staff=True).user
    person.user_permissions.add(Permission.objects.get(codename="view_bundlerelease"))
    client.force_login(person)
    page = client.get(INDEX).content.decode()
    assert "Nothing that you may see needs a look." in page
    assert "Everything is all right." not in page


# --- Charts -----------------------------------------------------------------------------------------------------


def chart(**changes: Any) -> Chart:
    fields: dict[str, Any] = {
        "title": "Devices by version",
        "labels": ["Nov 24", "Nov 25"],
        "label_heading": "Day",
        "series": [Series("1.0.0", [3, 1]), Series("<b>1.1.0", [None, 1234])],
    }
    return Chart(**{**fields, **changes})


def shown(drawn: Chart) -> str:
    return render_to_string("admin/chart.html", {"chart": drawn})


def test_a_chart_has_its_numbers_as_a_table() -> None:
    page = shown(chart())
    assert "<figcaption>Devices by version</figcaption>" in page
    rows = page[page.index("<tbody>") :].split("<tr>")[1:]
    assert ["Nov 25" in rows[0], "Nov 24" in rows[1]] == [True, True], "the newest comes first"
    assert '<td class="number">1</td><td class="number">1234</td>' in rows[0]
    assert '<td class="number">3</td><td class="number">–</td>' in rows[1]


def test_a_name_in_a_chart_is_text() -> None:
    assert "<b>" not in shown(chart())


@pytest.mark.parametrize("series", [[], [Series("1.0.0", [0, 0])], [Series("1.0.0", [None, None])]])
def test_an_empty_chart_says_so(series: list[Series]) -> None:
    page = shown(chart(series=series, empty="No device has checked yet."))
    assert "No device has checked yet." in page
    assert "canvas" not in page


# --- Error pages ------------------------------------------------------------------------------------------------


def test_the_admin_has_error_pages_of_its_own(client: Client, staff: Actor, course: Course) -> None:
    client.force_login(make_actor("assistant", is_staff=True).user)
    nothing = client.get("/admin/nothing/")
    assert (nothing.status_code, "There is no such page" in nothing.content.decode()) == (404, True)
    forbidden = client.get("/admin/courses/course/")
    assert (forbidden.status_code, "You may not open this page" in forbidden.content.decode()) == (403, True)


@pytest.mark.parametrize("kind", ["1", "x"])
@pytest.mark.parametrize("key", ["x", "1", "6f7d1a52-8d1f-4f0c-8a55-2f6f0a8f7f10"])
def test_no_row_has_a_page_outside_of_the_admin(admin_page: Client, kind: str, key: str) -> None:
    kinds = {"1": ContentType.objects.get_for_model(Course).pk}
    assert admin_page.get(f"/admin/r/{kinds.get(kind, kind)}/{key}/").status_code == 404


def test_a_form_without_its_token_is_refused_with_a_page(staff: Actor) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(staff.user)
    refused = client.post("/admin/courses/course/add/", {})
    assert (refused.status_code, "This page was open for too long" in refused.content.decode()) == (403, True)


def test_a_fault_shows_a_page(staff: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr("config.admin.reverse", fail)
    client = Client(raise_request_exception=False)
    client.force_login(staff.user)
    page = client.get(INDEX, **CHINESE)  # type: ignore[arg-type]
    assert page.status_code == 500
    assert '<html lang="zh-hans">' in page.content.decode()
    assert "planted" not in page.content.decode()
