"""Users: who is added, stopped and given a new password, and what somebody sees who is no site admin."""

import pytest
from flask import Flask
from web_fixtures import Visitor, account, app, reader, stranger, visitor

from portal import users
from portal.errors import BadValue, NotAllowed, Taken
from portal.models import Audit
from portal.provenance import Actor, operator
from portal.settings import Settings

__all__ = ["app", "reader", "stranger", "visitor"]


def test_a_new_user_gets_a_password_that_is_shown_once(visitor: Visitor, app: Flask) -> None:
    answer = visitor.post("/users/new", {"email": "New@Site.example", "is_admin": "y"})

    assert answer.status_code == 201
    shown = answer.text.split('id="secret">')[1].split("<")[0]
    fresh = Visitor(client=app.test_client(), email="new@site.example", address=visitor.address)
    assert fresh.sign_in(shown).status_code == 303
    assert shown not in visitor.get("/users/").text
    assert not any(shown in str(row.detail) for row in Audit.select())


@pytest.mark.parametrize("email", ["", "x", "@x", "x@", "a b@c", "a@b@c", "x" * 250 + "@y.example", "a\0b@c"])
def test_an_address_that_is_none_is_refused(visitor: Visitor, email: str) -> None:
    answer = visitor.post("/users/new", {"email": email})

    assert answer.status_code == 422
    assert "An e-mail address looks like name@site.example." in answer.text
    assert "is-invalid" in answer.text
    assert "autofocus" in answer.text


def test_an_address_has_one_account(visitor: Visitor) -> None:
    answer = visitor.post("/users/new", {"email": visitor.email.upper()})

    assert answer.status_code == 422
    assert "has an account already" in answer.text


def test_nobody_disables_their_own_account_nor_the_last_admin(visitor: Visitor) -> None:
    number = account(visitor).id

    answer = visitor.post(f"/users/{number}/disable")

    assert answer.status_code == 403
    assert "You cannot disable your own account" in answer.text
    with pytest.raises(NotAllowed, match="last site admin"):
        users.disable(number, actor=operator())


def test_an_admin_makes_a_new_password_for_somebody(visitor: Visitor, reader: Visitor) -> None:
    answer = visitor.post(f"/users/{account(reader).id}/new-password")

    shown = answer.text.split('id="secret">')[1].split("<")[0]
    assert reader.get("/data/").status_code == 303
    assert reader.sign_in().status_code == 401
    assert reader.sign_in(shown).status_code == 303


@pytest.mark.parametrize(
    "path",
    [
        "/jobs/",
        "/exports/",
        "/activity/",
        "/interfaces/devices/",
        "/users/",
        "/settings/",
        "/data/conflicts/",
        "/jobs/1",
    ],
)
def test_who_is_no_admin_sees_none_of_the_admins_pages(reader: Visitor, path: str) -> None:
    answer = reader.get(path)

    assert answer.status_code == 403
    assert "Only a site admin may open this page." in answer.text


def test_who_is_no_admin_finds_only_data_in_the_navigation(reader: Visitor) -> None:
    page = reader.get("/", follow_redirects=True).text

    assert 'href="/data/"' in page
    assert "/settings/" not in page
    assert "/jobs/" not in page


def test_accounts_are_added_with_clean_words(site: Settings) -> None:
    user, generated = users.add(" Person@Site.example ", actor=operator())

    assert (user.email, user.is_admin) == ("person@site.example", False)
    assert generated is not None
    assert users.sign_in("PERSON@site.example", generated, address="").id == user.id
    with pytest.raises(Taken):
        users.add("person@site.example", actor=operator())
    with pytest.raises(BadValue):
        users.add("other@site.example", "short", actor=operator())
    with pytest.raises(NotAllowed):
        users.add("other@site.example", actor=Actor(type="user", id=str(user.id)))
