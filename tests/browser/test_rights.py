"""Roles in a browser: a new user chooses a password, and an admin of a project gives access and takes it away."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from portal import models
from portal.access.actors import operator
from portal.models import Project, Session
from portal.users import grants, users
from tests.fixtures.browser import PASSWORD, Person, person_at
from tests.fixtures.up import Up

pytestmark = [pytest.mark.xdist_group("browser"), pytest.mark.timeout(300)]


def _types(person: Person, label: str, text: str) -> None:
    person.page.get_by_label(label, exact=True).focus()
    person.page.keyboard.type(text)


def _is_accessible(person: Person) -> None:
    found = Axe().run(person.page).response["violations"]
    assert found == [], [(one["id"], one["nodes"][0]["html"]) for one in found]


def test_a_new_user_chooses_a_password_before_anything_else_by_keyboard(person: Person, running: Up) -> None:
    with models.connection():
        _, generated = users.add("new@site.example", actor=operator())
        grants.add(users.by_email("new@site.example").id, "*", "ro", actor=operator())
    assert generated is not None
    page = person.page
    person.goes("/sign-in?next=/data/")
    _types(person, "E-mail address", "new@site.example")
    _types(person, "Password", generated)
    page.keyboard.press("Enter")
    page.wait_for_url("**/password")
    expect(page.locator("main")).to_contain_text("Your password was generated")
    expect(page.get_by_role("navigation").get_by_role("link", name="Data")).to_have_count(0)
    _is_accessible(person)

    _types(person, "Current password", generated)
    _types(person, "New password", PASSWORD)
    _types(person, "New password, again", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/data/")
    expect(page.locator("main")).to_contain_text("neuro/trial-a")
    assert person.complaints == []


def test_an_admin_of_a_project_gives_access_and_removes_it_by_keyboard(
    browser: Browser, person: Person, running: Up
) -> None:
    with models.connection():
        for email, role in (("boss@site.example", "admin"), ("guest@site.example", "")):
            account, _ = users.add(email, PASSWORD, actor=operator())
            if role:
                grants.add(account.id, "neuro/trial-a", role, actor=operator())
        project, session = Project.get(), Session.get()
    person.signs_in("boss@site.example")
    page = person.page
    person.goes(f"/data/project/{project.id}")
    page.get_by_role("link", name="Access", exact=True).press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Access to neuro/trial-a")
    _is_accessible(person)
    _types(person, "E-mail address", "guest@site.example")
    page.get_by_role("button", name="Grant access").press("Enter")
    expect(page.locator(".note-ok")).to_contain_text("guest@site.example can now read in neuro/trial-a.")

    guest = person_at(browser, running.url)
    guest.signs_in("guest@site.example")
    guest.goes(f"/data/session/{session.id}")
    guest.page.get_by_role("link", name="Who has seen it").press("Enter")
    expect(guest.page.locator("main")).to_contain_text("Users with write access, and admins, see the names.")
    _is_accessible(guest)
    guest.page.context.close()

    person.goes(f"/data/session/{session.id}")
    page.get_by_role("link", name="Who has seen it").press("Enter")
    expect(page.locator("main")).to_contain_text("guest@site.example")
    _is_accessible(person)
    person.goes(f"/data/projects/{project.id}/access")
    page.get_by_role("button", name="Remove access of guest@site.example to this project").press("Enter")
    expect(page.locator(".note-ok")).to_contain_text("guest@site.example can no longer read in neuro/trial-a.")
    expect(page.locator("#list").get_by_role("row").filter(has_text="guest@site.example")).to_have_count(0)
    assert person.complaints == guest.complaints == []
