"""Users: who is added, stopped and given a new password, and what somebody sees who is no site admin."""

import pytest
from flask import Flask

from portal.access.actors import Actor, operator
from portal.devices import api_keys
from portal.errors import BadValue, Missing, NotAllowed, Taken
from portal.models import Audit, Grant
from portal.settings import Settings
from portal.tree import groups, projects
from portal.users import grants, users
from tests.fixtures.archive import an_object, store
from tests.fixtures.web import MOST_STATEMENTS, Visitor, account, refusal, statements, text_of


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
    assert "already has an account" in answer.text


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
    assert "Access denied" in answer.text


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


@pytest.fixture
def places(app: Flask, admin: Actor) -> None:
    """The projects neuro/Brain with a study, neuro/Spine, and cardio/Heart."""
    groups.add("neuro", actor=admin)
    groups.add("cardio", actor=admin)
    store(an_object(PatientID="in-brain"), projects.add("neuro/Brain", actor=admin))
    projects.add("neuro/Spine", actor=admin)
    projects.add("cardio/Heart", actor=admin)


def give(visitor: Visitor, user: Visitor, place: str, role: str = "ro") -> str:
    number = account(user).id
    answer = visitor.post(f"/users/{number}/grants", {"place": place, "role": role}, follow_redirects=True)
    return text_of(answer.text)


def test_what_is_granted_on_a_users_page_is_what_the_user_sees(visitor: Visitor, reader: Visitor, places: None) -> None:
    assert "No access to any project." in text_of(visitor.get(f"/users/{account(reader).id}").text)

    assert f"{reader.email} can now read in neuro." in give(visitor, reader, "neuro")
    seen = give(visitor, reader, "cardio/Heart", "rw")

    assert "Effective access 3 projects neuro/Brain read, 1 study neuro/Spine read, 0 studies cardio/Heart" in seen
    data = reader.get("/data/").text
    assert all(name in data for name in ("Brain", "Spine", "Heart"))
    group = grants.for_user(account(reader).id)[0]
    taken = visitor.post(f"/users/{account(reader).id}/grants/{group.id}/take", follow_redirects=True)
    assert f"{reader.email} can no longer read in neuro." in text_of(taken.text)
    assert "Brain" not in reader.get("/data/").text
    assert "Heart" in reader.get("/data/").text


def test_the_same_place_again_only_changes_the_role_and_each_act_is_audited(
    visitor: Visitor, reader: Visitor, places: None
) -> None:
    for role in ("ro", "rw", "rw"):
        give(visitor, reader, "neuro/Brain", role)

    number = account(reader).id
    assert [(one.place, one.role) for one in grants.for_user(number)] == [("neuro/Brain", "rw")]
    acts = list(Audit.select().where(Audit.action.startswith("grant:")).order_by(Audit.id))
    assert [act.action for act in acts] == ["grant:given", "grant:changed"]
    assert (acts[1].detail["before"]["role"], acts[1].detail["after"]["role"]) == ("ro", "rw")
    page = text_of(visitor.get(f"/users/{number}").text)
    assert "Grant changed" in page
    assert "role: ro → rw" in page
    assert "Signed in" in page


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("", "Enter a group, a project as GROUP/PROJECT, or * for everything."),
        ("nowhere", "There is no group 'nowhere'."),
        ("neuro/Nothing", "neuro/Nothing"),
        ("unknown", "The group unknown is for site admins only."),
        ("unknown/Unsorted", "The group unknown is for site admins only."),
        ("<script>", "There is no group '<script>'."),
    ],
)
def test_a_place_that_is_none_is_refused_beside_its_field(
    visitor: Visitor, reader: Visitor, places: None, place: str, message: str
) -> None:
    answer = visitor.post(f"/users/{account(reader).id}/grants", {"place": place, "role": "ro"})

    refusal(answer, message)
    assert 'id="place-e"' in answer.text
    assert Grant.select().count() == 0


def test_a_role_that_is_none_and_a_grant_of_somebody_else_are_refused(
    visitor: Visitor, reader: Visitor, places: None, admin: Actor
) -> None:
    refusal(visitor.post(f"/users/{account(reader).id}/grants", {"place": "neuro", "role": "owner"}), "is not a role.")
    given = grants.add(account(reader).id, "neuro", "ro", actor=admin)
    with pytest.raises(Missing):
        grants.remove(account(visitor).id, given.id, actor=admin)
    assert visitor.post("/users/4000/grants", {"place": "neuro", "role": "ro"}).status_code == 404
    with pytest.raises(NotAllowed):
        grants.add(account(reader).id, "neuro", "rw", actor=users.actor(account(reader), ""))


def test_the_whole_site_can_be_granted_but_for_what_could_not_be_placed(
    visitor: Visitor, reader: Visitor, places: None
) -> None:
    store(an_object(SOPInstanceUID="1.2.3", StudyInstanceUID="1.2.4", PatientID="unplaced"))

    page = give(visitor, reader, "*")

    assert "can now read in the whole site." in page
    assert "Effective access 3 projects" in page
    assert "Unsorted" not in reader.get("/data/").text


def test_a_user_becomes_a_site_admin_and_is_none_any_more(visitor: Visitor, reader: Visitor) -> None:
    number = account(reader).id
    assert "Make site admin" in visitor.get(f"/users/{number}/role").text

    assert "is a site admin." in visitor.post(f"/users/{number}/role", follow_redirects=True).text
    assert reader.get("/users/").status_code == 200
    assert reader.post(f"/users/{number}/role").status_code == 403
    assert "Remove role" in visitor.get(f"/users/{number}/role").text
    visitor.post(f"/users/{number}/role")

    assert reader.get("/users/").status_code == 403
    acts = Audit.select().where(Audit.action == "user:role_changed").order_by(Audit.id)
    assert [act.detail["after"] for act in acts] == ["site admin", "user"]
    with pytest.raises(NotAllowed, match="last site admin"):
        users.set_admin(account(visitor).id, False, actor=operator())


def test_a_users_page_asks_the_database_at_most_fifteen_times(
    visitor: Visitor, reader: Visitor, places: None, admin: Actor
) -> None:
    for place in ("neuro", "cardio", "neuro/Brain"):
        grants.add(account(reader).id, place, "ro", actor=admin)
    for number in (account(reader).id, account(visitor).id):
        with statements() as sent:
            assert visitor.get(f"/users/{number}").status_code == 200
        assert len(sent) <= MOST_STATEMENTS, "\n".join(sent)


def test_a_user_who_is_disabled_says_so_on_the_page(visitor: Visitor, reader: Visitor) -> None:
    number = account(reader).id

    assert "Disabled: cannot sign in" in visitor.post(f"/users/{number}/disable", follow_redirects=True).text
    assert reader.sign_in().status_code == 401
    assert "is enabled." in visitor.post(f"/users/{number}/enable", follow_redirects=True).text
    assert visitor.get("/users/4000").status_code == 404


def test_a_generated_password_is_changed_before_any_other_page_answers(app: Flask, visitor: Visitor) -> None:
    _, generated = users.add("new@site.example", actor=operator())
    person = Visitor(client=app.test_client(), email="new@site.example", address="10.9.8.7")
    assert person.sign_in(generated or "").status_code == 303
    for address in ("/", "/data/", "/profile", "/search?q=a", "/data/trash"):
        assert person.get(address).headers["Location"] == "/password"
    part = person.get("/data/", headers={"HX-Request": "true"})
    assert (part.status_code, part.headers["HX-Redirect"]) == (401, "/password")
    assert person.post("/profile", {"time_zone": "Asia/Tokyo"}).headers["Location"] == "/password"
    assert person.get("/api/projects").status_code == 401
    page = text_of(person.get("/password").text)
    assert "Your password was generated" in page
    assert "Jobs" not in page
    assert person.get("/help/").status_code == 200

    changed = {"old": generated, "new": "of my own choice", "again": "of my own choice"}
    assert person.post("/password", changed).status_code == 303
    assert person.get("/data/").status_code == 200
    assert person.get("/api/projects").status_code == 200
    assert "Your password was generated" not in person.get("/password").text


def test_who_has_not_chosen_a_password_yet_can_sign_out(app: Flask, visitor: Visitor) -> None:
    _, generated = users.add("new@site.example", actor=operator())
    person = Visitor(client=app.test_client(), email="new@site.example", address="10.9.8.6")
    person.sign_in(generated or "")
    assert person.post("/sign-out").headers["Location"] == "/sign-in"
    assert not person.is_signed_in()


def test_after_an_admins_reset_the_password_is_changed_again_and_one_of_ones_own_is_not(
    visitor: Visitor, reader: Visitor
) -> None:
    page = visitor.post(f"/users/{account(reader).id}/new-password")
    shown = page.text.split('id="secret">')[1].split("<")[0]
    assert reader.sign_in(shown).status_code == 303
    assert reader.get("/data/").headers["Location"] == "/password"
    assert "chooses another one at the next sign-in" in text_of(visitor.get(f"/users/{account(reader).id}").text)

    users.reset_password(account(reader).id, "typed by an admin", actor=operator())
    assert reader.sign_in("typed by an admin").status_code == 303
    assert reader.get("/data/").status_code == 200


def test_a_key_of_a_user_works_before_the_password_is_changed(app: Flask, visitor: Visitor) -> None:
    user, _ = users.add("new@site.example", actor=operator())
    key = api_keys.issue(user, name="script", actor=users.actor(user, "10.0.0.1"))
    answer = app.test_client().get("/api/auth/status", headers={"Authorization": f"Bearer {key.secret}"})
    assert answer.status_code == 200


def test_a_role_is_changed_on_the_users_page_by_a_press(visitor: Visitor, reader: Visitor, places: None) -> None:
    assert "read, write and manage neuro/Brain" in give(visitor, reader, "neuro/Brain", "admin")
    page = visitor.get(f"/users/{account(reader).id}").text
    assert "Change access to neuro/Brain to Read and write" in page
    assert "neuro/Brain admin, 1 study" in text_of(page)
    assert "can now read and write in neuro/Brain." in give(visitor, reader, "neuro/Brain", "rw")
