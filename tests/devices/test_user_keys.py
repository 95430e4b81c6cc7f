"""Keys of users: the user's own rights, and no more."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from portal.access import rights
from portal.access.actors import Actor, operator
from portal.devices import api_keys, key_authentication
from portal.errors import BadValue, NotAllowed, NotSignedIn
from portal.models import Project, User
from portal.tree import projects
from portal.users import grants, users

pytestmark = pytest.mark.usefixtures("site")


@pytest.fixture
def places() -> dict[str, Project]:
    paths = ("neuro/Brain", "heart/Trial")
    return {path: projects.add_in_new_group(*path.split("/"), actor=operator()) for path in paths}


@pytest.fixture
def reader(places: dict[str, Project]) -> User:
    user, _password = users.add("reader@site.example", "a long password", False, actor=operator())
    grants.add(user.id, "neuro/Brain", "rw", actor=operator())
    return user


def web(user: User) -> Actor:
    return users.actor(users.get(user.id), "10.0.0.5")


def show(issued: api_keys.IssuedKey) -> Actor:
    return key_authentication.authenticate(issued.secret, address="10.0.0.9", program="script/1")


def test_a_user_key_is_the_user_and_names_itself(reader: User, places: dict[str, Project]) -> None:
    issued = api_keys.issue(reader, name="script", actor=web(reader))
    actor = show(issued)
    assert (actor.type, actor.id, actor.name) == ("user", str(reader.id), "reader@site.example")
    assert (actor.via, actor.is_admin) == (issued.key_id, False)
    assert rights.scope(actor) == rights.scope(web(reader))
    assert rights.scope(actor).projects == (places["neuro/Brain"].id,)


def test_a_removed_grant_and_a_disabled_user_take_effect_at_once(reader: User) -> None:
    issued = api_keys.issue(reader, name="script", actor=web(reader))
    grants.remove_by_place(reader.id, "neuro/Brain", actor=operator())
    assert rights.scope(show(issued)) == rights.NO_ACCESS
    users.disable(reader.id, actor=operator())
    with pytest.raises(NotSignedIn, match=r"The user reader@site\.example is disabled"):
        show(issued)
    users.enable(reader.id, actor=operator())
    assert show(issued).id == str(reader.id)


def test_the_key_of_an_admin_is_that_of_an_admin_as_long_as_he_is_one(reader: User) -> None:
    users.add("other@site.example", "a long password", True, actor=operator())
    users.set_admin(reader.id, True, actor=operator())
    issued = api_keys.issue(reader, name="script", actor=web(reader))
    assert show(issued).is_admin
    rights.require_admin(show(issued))
    users.set_admin(reader.id, False, actor=operator())
    with pytest.raises(NotAllowed):
        rights.require_admin(show(issued))


def test_a_narrowed_user_key_reaches_less_than_the_user(reader: User, places: dict[str, Project]) -> None:
    grants.add(reader.id, "heart", "ro", actor=operator())
    issued = api_keys.issue(reader, name="script", only="heart", actor=web(reader))
    assert rights.scope(show(issued)).projects == (places["heart/Trial"].id,)
    grants.remove_by_place(reader.id, "heart", actor=operator())
    assert rights.scope(show(issued)) == rights.NO_ACCESS


@pytest.mark.parametrize("only", ["heart", "heart/Trial", "nowhere", "nowhere/x"])
def test_a_user_learns_nothing_of_other_places_by_narrowing(reader: User, only: str) -> None:
    with pytest.raises(BadValue) as caught:
        api_keys.issue(reader, name="script", only=only, actor=web(reader))
    assert caught.value.message == f"There is no {only!r}. Write a group's ID, or a project as GROUP/PROJECT."


def test_only_the_user_who_is_signed_in_creates_user_keys(reader: User) -> None:
    issued = api_keys.issue(reader, name="script", actor=web(reader))
    other, _password = users.add("other@site.example", "a long password", True, actor=operator())
    for actor in (show(issued), web(other), operator(), replace(web(reader), type="device")):
        with pytest.raises(NotAllowed, match="on the profile page"):
            api_keys.issue(reader, name="more", actor=actor)
    assert len(api_keys.for_owner(reader)) == 1


@pytest.mark.parametrize("who", [web, lambda _user: operator()])
def test_the_user_and_site_admins_revoke_a_user_key(reader: User, who: Callable[[User], Actor]) -> None:
    issued = api_keys.issue(reader, name="script", actor=web(reader))
    other, _password = users.add("other@site.example", "a long password", False, actor=operator())
    for actor in (web(other), show(issued)):
        with pytest.raises(NotAllowed):
            api_keys.revoke(reader, issued.key_id, actor=actor)
    api_keys.revoke(reader, issued.key_id, actor=who(reader))
    with pytest.raises(NotSignedIn, match="Create a new one on your profile page"):
        show(issued)
