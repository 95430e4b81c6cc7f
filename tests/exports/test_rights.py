"""Admins of a project export it, to the storages that it may use, and steer these exports; no others."""

import pytest
from flask import Flask

from portal import site_settings
from portal.access.actors import Actor
from portal.errors import NotAllowed
from portal.exports import exports
from portal.jobs import jobs
from portal.models import Job, Project, Storage
from portal.peers import peers
from portal.storage import storages
from portal.tree import groups
from portal.users import grants, users
from tests.fixtures.archive import a_project, an_object, store
from tests.fixtures.web import Visitor, account, text_of, visitor_of


@pytest.fixture
def project(app: Flask, admin: Actor) -> Project:
    found = a_project(actor=admin)
    store(an_object(), found)
    a_project("hidden", actor=admin)
    return found


@pytest.fixture
def manager(app: Flask, project: Project, admin: Actor) -> Visitor:
    found = visitor_of(app, is_admin=False)
    grants.add(account(found).id, "neuro/trial", "admin", actor=admin)
    assert found.sign_in().status_code == 303
    return found


def actor_of(visitor: Visitor) -> Actor:
    return users.actor(account(visitor), visitor.address)


def test_an_admin_of_a_project_exports_it_and_nothing_else(manager: Visitor, mirror: Storage) -> None:
    job = exports.dry_run("neuro/trial", to="mirror", actor=actor_of(manager))
    assert job.kind == "dry_run"
    for path in ("neuro/hidden", "neuro/nothing", ""):
        with pytest.raises(NotAllowed, match="admin of the project"):
            exports.start(path, to="mirror", actor=actor_of(manager))
    with pytest.raises(NotAllowed, match="Only site admins send to peers"):
        exports.start("neuro/trial", to="peer/Viewer", actor=actor_of(manager))


def test_an_admin_of_a_project_starts_no_send_that_a_site_admin_prepared(
    app: Flask, manager: Visitor, admin: Actor
) -> None:
    site_settings.change({"dimse.enabled": True}, actor=admin)
    peers.register("Viewer", ae_title="VIEWER", host="192.0.2.1", port=11112, actor=admin)
    tried = exports.dry_run("neuro/trial", to="peer/Viewer", actor=admin)
    Job.update(state="done").where(Job.id == tried.id).execute()
    sent = exports.start("neuro/trial", to="peer/Viewer", actor=admin)
    with pytest.raises(NotAllowed, match="Only site admins send to peers"):
        jobs.try_now(sent.id, actor=actor_of(manager))
    Job.update(state="failed").where(Job.id == sent.id).execute()
    with pytest.raises(NotAllowed, match="Only site admins send to peers"):
        jobs.retry(sent.id, actor=actor_of(manager))
    with pytest.raises(NotAllowed, match="Only site admins send to peers"):
        exports.start_after_dry_run(tried.id, confirmed=True, actor=actor_of(manager))
    assert (Job.select().count(), jobs.get(sent.id).state) == (2, "failed")
    shown = manager.get(f"/jobs/{sent.id}")
    assert (shown.status_code, f"/jobs/{sent.id}/retry" in shown.text) == (200, False)
    assert jobs.retry(sent.id, actor=admin).state == "waiting"


def test_a_storage_of_another_group_is_neither_offered_nor_taken(
    manager: Visitor, mirror: Storage, admin: Actor
) -> None:
    groups.add("cardio", actor=admin)
    storages.edit("mirror", visible="group:cardio", actor=admin)
    assert "mirror" not in manager.get("/exports/new").text
    with pytest.raises(NotAllowed, match="visible only to"):
        exports.start("neuro/trial", to="mirror", actor=actor_of(manager))


def test_the_pages_show_an_admin_of_a_project_its_exports_alone(
    manager: Visitor, mirror: Storage, admin: Actor
) -> None:
    own = exports.start("neuro/trial", to="mirror", actor=admin)
    other = exports.start("neuro/hidden", to="mirror", actor=admin)

    seen = text_of(manager.get("/exports/").text)

    assert "1 export" in seen
    assert "neuro/hidden" not in seen
    form = manager.get("/exports/new").text
    assert "neuro/trial" in form
    assert "neuro/hidden" not in form
    for page in ("", "/progress", "/report.jsonl"):
        assert manager.get(f"/jobs/{own.id}{page}").status_code == 200
        assert manager.get(f"/jobs/{other.id}{page}").status_code == 403
    assert manager.get(f"/exports/new?like={other.id}").status_code == 403
    assert manager.post(f"/jobs/{other.id}/cancel").status_code == 403
    assert jobs.get(other.id).state == "waiting"
    assert manager.post(f"/jobs/{own.id}/cancel").status_code == 303
    assert jobs.get(own.id).state == "cancelled"
    assert manager.get("/jobs/").status_code == 403
    assert 'href="/exports/"' in manager.get("/data/").text


def test_a_job_of_another_kind_is_for_site_admins(manager: Visitor, mirror: Storage, admin: Actor) -> None:
    tested = storages.request_test("mirror", actor=admin)
    assert manager.get(f"/jobs/{tested}").status_code == 403
    assert manager.get("/jobs/4000").status_code == 403


def test_who_may_only_write_exports_nothing(app: Flask, project: Project, mirror: Storage, admin: Actor) -> None:
    writer = visitor_of(app, is_admin=False)
    grants.add(account(writer).id, "neuro/trial", "rw", actor=admin)
    writer.sign_in()
    for page in ("/exports/", "/exports/new"):
        assert writer.get(page).status_code == 403
    with pytest.raises(NotAllowed):
        exports.start("neuro/trial", to="mirror", actor=actor_of(writer))
    assert Job.select().count() == 0
    assert "Export" not in text_of(writer.get(f"/data/project/{project.id}").text)
