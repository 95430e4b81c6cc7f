"""API keys of users: on the profile page, and as site admins see them."""

import re

import pytest

from portal.access.actors import Actor
from portal.devices import api_keys, key_authentication
from portal.models import ApiKey, User
from portal.tree import projects
from portal.users import users
from tests.fixtures.web import Visitor, account, refusal, text_of


def generate(visitor: Visitor, **more: str) -> str:
    """The secret of a new key."""
    answer = visitor.post("/profile/keys", {"name": "script", "expires": "2027-06-30", **more})
    assert answer.status_code == 201, text_of(answer.text)
    return re.findall(r'id="secret">([^<]+)<', answer.text)[0]


def test_a_user_generates_a_key_that_is_shown_once_and_is_that_user(reader: Visitor) -> None:
    assert "No API keys yet" in text_of(reader.get("/profile/keys").text)
    secret = generate(reader)
    actor = key_authentication.authenticate(secret, address="10.0.0.9", program="curl")
    assert (actor.type, actor.name, actor.is_admin) == ("user", reader.email, False)
    for path in ("/profile", "/profile/keys", f"/profile/keys/{actor.via}"):
        page = reader.get(path).text
        assert secret not in page
        assert actor.via in page
    assert "1 of 5 live" in text_of(reader.get("/profile").text)


def test_a_user_limits_a_key_to_what_the_user_sees(reader: Visitor, admin: Actor) -> None:
    projects.add_in_new_group("secret", "Trial", actor=admin)
    values = {"name": "k", "expires": "2027-06-30"}
    refusal(reader.post("/profile/keys", {**values, "only": "secret/Trial"}), "There is no 'secret/Trial'.")
    assert "secret/Trial" not in reader.get("/profile/keys").text
    generate(reader, read_only="y", addresses="10.0.0.0/8")
    assert "Read only, from 10.0.0.0/8" in text_of(reader.get("/profile").text)


def test_a_user_rotates_and_revokes_a_key(reader: Visitor) -> None:
    old = generate(reader)[:10]
    answer = reader.post(f"/profile/keys/{old}/rotate", {"name": "next", "expires": "2027-06-30", "newest": old})
    assert answer.status_code == 201
    assert "Not used since next was created" in text_of(reader.get(f"/profile/keys/{old}").text)
    reader.get(f"/profile/keys/{old}/revoke")
    assert reader.post(f"/profile/keys/{old}/revoke").status_code == 303
    assert [row.revoked is not None for row in ApiKey.select().order_by(ApiKey.id)] == [True, False]


def test_a_form_that_is_sent_twice_makes_one_key(reader: Visitor) -> None:
    first = generate(reader)[:10]
    generate(reader, newest=first)
    again = {"name": "script", "expires": "2027-06-30", "newest": first}
    assert "was created after this page was opened" in text_of(reader.post("/profile/keys", again).text)


@pytest.mark.parametrize("action", ["", "/rotate", "/revoke"])
def test_the_keys_of_another_user_are_not_there(reader: Visitor, visitor: Visitor, action: str) -> None:
    key_id = generate(visitor)[:10]
    assert reader.get(f"/profile/keys/{key_id}{action}").status_code == 404
    if action:
        sent = {"name": "x", "expires": "2027-06-30"}
        assert reader.post(f"/profile/keys/{key_id}{action}", sent).status_code in (404, 422)
    assert ApiKey.get().revoked is None
    assert ApiKey.select().count() == 1


def test_a_site_admin_sees_and_revokes_the_keys_of_a_user(reader: Visitor, visitor: Visitor) -> None:
    key_id = generate(reader)[:10]
    person = account(reader)
    path = f"/users/{person.id}"
    assert key_id in visitor.get(path).text
    page = visitor.get(f"{path}/keys/{key_id}").text
    assert "/rotate" not in page
    assert reader.get(f"{path}/keys/{key_id}").status_code == 403
    assert reader.post(f"{path}/keys/{key_id}/revoke").status_code == 403
    assert "Never used." in text_of(visitor.get(f"{path}/keys/{key_id}/revoke").text)
    answer = visitor.post(f"{path}/keys/{key_id}/revoke", follow_redirects=True)
    assert f"Key {key_id} of {reader.email} is revoked." in text_of(answer.text)
    assert "Key revoked" in text_of(visitor.get(path).text)
    assert api_keys.state(ApiKey.get()) == "revoked"


def test_the_search_box_finds_the_user_of_a_key(reader: Visitor, visitor: Visitor) -> None:
    key_id = generate(reader)[:10]
    page = visitor.get(f"/search?q={key_id}").text
    assert f"script, key of {reader.email}" in text_of(page)
    assert f'href="/users/{account(reader).id}"' in page
    assert key_id not in text_of(reader.get(f"/search?q={key_id}").text).replace(f"“{key_id}”", "")


def test_a_disabled_user_and_the_expiry_are_shown_where_the_key_is_refused(reader: Visitor, visitor: Visitor) -> None:
    generate(reader)
    person = User.get(User.email == reader.email)
    users.disable(person.id, actor=users.actor(account(visitor), "127.0.0.1"))
    assert "They are refused while the user is disabled." in text_of(visitor.get(f"/users/{person.id}").text)
