"""Who has access to a project: its page, and the admins of projects and groups who give and remove it."""

import pytest
from flask import Flask

from portal.access.actors import Actor
from portal.devices import api_keys, devices
from portal.models import Grant, Project
from portal.peers import peers
from portal.tree import groups, projects
from portal.users import grants
from tests.fixtures.web import MOST_STATEMENTS, Visitor, account, refusal, statements, text_of, visitor_of


@pytest.fixture
def brain(app: Flask, admin: Actor) -> Project:
    """Of two projects of one group, with a third one in another."""
    for code in ("neuro", "cardio"):
        groups.add(code, actor=admin)
    found = projects.add("neuro/Brain", actor=admin)
    for path in ("neuro/Spine", "cardio/Heart"):
        projects.add(path, actor=admin)
    return found


def person(app: Flask, admin: Actor, place: str, role: str) -> Visitor:
    found = visitor_of(app, is_admin=False)
    grants.add(account(found).id, place, role, actor=admin)
    assert found.sign_in().status_code == 303
    return found


def page(visitor: Visitor, project: Project) -> str:
    return text_of(visitor.get(f"/data/projects/{project.id}/access").text)


def test_everybody_who_has_access_is_counted_and_named_with_the_way(
    app: Flask, visitor: Visitor, brain: Project, admin: Actor
) -> None:
    direct = person(app, admin, "neuro/Brain", "ro")
    by_group = person(app, admin, "neuro", "rw")
    everywhere = person(app, admin, "*", "ro")
    elsewhere = person(app, admin, "cardio", "admin")
    peers.register(
        "Viewer", ae_title="VIEWER", addresses=("192.0.2.1",), projects=(("neuro/Brain", "ro"),), actor=admin
    )
    device = devices.add("CT Connector", actor=admin)
    api_keys.issue(device, name="whole site", actor=admin)
    narrowed = api_keys.issue(devices.add("Importer", actor=admin), name="one", only="neuro/Brain", actor=admin)
    of_group = api_keys.issue(devices.get("Importer"), name="group", only="neuro", actor=admin)
    other = api_keys.issue(devices.get("Importer"), name="other", only="cardio", actor=admin)

    seen = page(visitor, brain)

    assert "3 users, 1 peer, " in seen
    assert "1 device can see this project" in seen
    assert f"{direct.email} Read this project" in seen
    assert f"{by_group.email} Read and write its group" in seen
    assert f"{everywhere.email} Read the whole site" in seen
    assert "Viewer Find and retrieve this project" in seen
    assert elsewhere.email not in seen
    assert visitor.email in seen
    assert narrowed.key_id in seen
    assert of_group.key_id in seen
    assert other.key_id not in seen
    assert f'href="/data/projects/{brain.id}/access"' in visitor.get(f"/data/project/{brain.id}").text


def test_who_may_only_read_sees_how_many_and_no_names(app: Flask, brain: Project, admin: Actor) -> None:
    reader, writer = person(app, admin, "neuro/Brain", "ro"), person(app, admin, "neuro/Brain", "rw")
    assert "2 users" in page(reader, brain)
    assert writer.email not in page(reader, brain)
    assert writer.email not in reader.get(f"/data/projects/{brain.id}/access?format=csv").text
    assert reader.email in page(writer, brain)
    assert reader.email in writer.get(f"/data/projects/{brain.id}/access?format=csv").text
    assert "Grant access" not in page(writer, brain)


def test_an_admin_of_a_project_gives_and_removes_access_there_alone(app: Flask, brain: Project, admin: Actor) -> None:
    manager, guest = person(app, admin, "neuro/Brain", "admin"), visitor_of(app, is_admin=False)
    guest.sign_in()
    address = f"/data/projects/{brain.id}/access"

    given = manager.post(address, {"email": guest.email, "role": "rw"}, follow_redirects=True)

    assert f"{guest.email} can now read and write in neuro/Brain." in text_of(given.text)
    assert guest.get(f"/data/project/{brain.id}").status_code == 200
    grant = grants.for_user(account(guest).id)[0]
    taken = manager.post(f"{address}/{grant.id}/remove", follow_redirects=True)
    assert f"{guest.email} can no longer read and write in neuro/Brain." in text_of(taken.text)
    assert guest.get(f"/data/project/{brain.id}").status_code == 404
    for place in ("neuro", "neuro/Spine", "cardio/Heart", "*", "nowhere"):
        refused = manager.post(address, {"email": guest.email, "place": place, "role": "ro"})
        assert (refused.status_code, Grant.select().where(Grant.who_id == account(guest).id).count()) == (422, 0)
    assert manager.get("/users/").status_code == 403


def test_an_admin_of_a_group_gives_access_to_the_group_and_creates_projects_in_it(
    app: Flask, brain: Project, admin: Actor
) -> None:
    manager, guest = person(app, admin, "neuro", "admin"), visitor_of(app, is_admin=False)
    address = f"/data/projects/{brain.id}/access"
    given = manager.post(address, {"email": guest.email, "place": "neuro", "role": "ro"}, follow_redirects=True)
    assert "can now read in neuro." in text_of(given.text)

    assert "New project" in manager.get("/data/").text
    form = manager.get("/data/projects/new").text
    assert "neuro" in form
    assert "cardio" not in form
    assert "New group" not in form
    assert manager.post("/data/projects/new", {"group": "neuro", "label": "Knee"}).status_code == 303
    for fields in ({"group": "cardio", "label": "Knee"}, {"code": "newgroup", "label": "Knee"}):
        assert manager.post("/data/projects/new", fields).status_code in (403, 422)
    assert sorted(row.label for row in Project.select()) == ["Brain", "Heart", "Knee", "Spine"]
    assert manager.post(f"/data/projects/{brain.id}/group", {"group_label": "Neuroradiology"}).status_code == 303


def test_an_admin_of_a_project_edits_its_label_and_not_its_ae_title(app: Flask, brain: Project, admin: Actor) -> None:
    manager = person(app, admin, "neuro/Brain", "admin")
    assert "AE title" not in text_of(manager.get(f"/data/projects/{brain.id}/edit").text)
    sent = {"label": "Brains", "ae_title": "STOLEN"}
    assert manager.post(f"/data/projects/{brain.id}/edit", sent).status_code == 303
    assert (Project.get_by_id(brain.id).label, Project.get_by_id(brain.id).ae_title) == ("Brains", None)
    assert manager.post(f"/data/projects/{brain.id}/group", {"group_label": "x"}).status_code in (403, 422)
    assert manager.get("/data/projects/new").status_code == 403
    assert "New project" not in manager.get("/data/").text


@pytest.mark.parametrize("role", ["ro", "rw"])
def test_who_is_no_admin_of_a_project_changes_neither_it_nor_its_access(
    app: Flask, brain: Project, admin: Actor, role: str
) -> None:
    person_ = person(app, admin, "neuro/Brain", role)
    grant = grants.for_user(account(person_).id)[0]
    address = f"/data/projects/{brain.id}"
    assert person_.get(f"{address}/edit").status_code == 403
    assert person_.post(f"{address}/edit", {"label": "Mine"}).status_code in (403, 422)
    assert person_.post(f"{address}/access", {"email": person_.email, "role": "admin"}).status_code == 403
    assert person_.post(f"{address}/access/{grant.id}/remove").status_code == 403
    assert [(one.place, one.role) for one in grants.for_user(account(person_).id)] == [("neuro/Brain", role)]
    assert Project.get_by_id(brain.id).label == "Brain"


def test_an_account_that_is_not_there_is_said_beside_its_field(app: Flask, brain: Project, admin: Actor) -> None:
    manager = person(app, admin, "neuro/Brain", "admin")
    answer = manager.post(f"/data/projects/{brain.id}/access", {"email": "nobody@site.example", "role": "ro"})
    refusal(answer, "'nobody@site.example' has no account.")
    assert 'id="email-e"' in answer.text


def test_the_page_of_access_asks_the_database_as_often_for_many_as_for_few(
    app: Flask, visitor: Visitor, brain: Project, admin: Actor
) -> None:
    asked = []
    for _ in range(3):
        person(app, admin, "neuro", "ro")
        with statements() as sent:
            assert visitor.get(f"/data/projects/{brain.id}/access").status_code == 200
        asked.append(len(sent))
    assert asked[0] == asked[2] <= MOST_STATEMENTS + 7, asked


def test_an_admin_of_a_project_reads_what_was_changed_of_it_and_who_else_does_not(
    app: Flask, brain: Project, admin: Actor
) -> None:
    manager, writer = person(app, admin, "neuro/Brain", "admin"), person(app, admin, "neuro/Brain", "rw")
    other = person(app, admin, "neuro/Spine", "rw")
    grants.add(account(writer).id, "neuro/Brain", "ro", actor=admin)
    grants.add(account(writer).id, "neuro/Brain", "rw", actor=admin)
    projects.edit(brain.id, label="Brain", ae_title="BRAIN", actor=admin)

    seen = page(manager, brain)

    assert f"Grant added {writer.email}, read and write" in seen
    assert "Grant changed" in seen
    assert "role: ro → rw" in seen
    assert "→ BRAIN" in seen
    assert other.email not in seen
    assert "→ BRAIN" not in page(writer, brain)


def test_a_project_that_takes_a_name_reads_no_grants_of_the_one_that_had_it(
    app: Flask, brain: Project, admin: Actor
) -> None:
    guest = person(app, admin, "neuro/Brain", "rw")
    manager = person(app, admin, "neuro/Spine", "admin")
    spine = Project.get(Project.label == "Spine")
    projects.edit(brain.id, label="Moved", ae_title="", actor=admin)
    projects.edit(spine.id, label="Brain", ae_title="", actor=admin)
    grants.remove(account(guest).id, grants.for_user(account(guest).id)[0].id, actor=admin)

    seen = page(manager, spine)

    assert f"Grant added {manager.email}" in seen
    assert f"Grant added {guest.email}" not in seen
    told = page(person(app, admin, "neuro/Moved", "admin"), brain)
    assert f"Grant added {guest.email}" in told
    assert f"Grant removed {guest.email}" in told
