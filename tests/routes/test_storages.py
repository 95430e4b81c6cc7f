"""The tab External Storage, and exports: what their forms change, and what they refuse."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from dimse_worker import destinations
from dimse_worker.jobs import run_export
from portal import runtime
from portal.access.actors import Actor
from portal.exports import dry_run, exports, schedules
from portal.exports.request import Options
from portal.jobs import jobs, runs
from portal.models import Job, Session, Storage, now
from portal.storage import connection_test, storages
from portal.trash import trash
from tests.fixtures.archive import a_project, store_vendor_file
from tests.fixtures.web import Visitor, refusal, text_of
from tests.fixtures.work import add_file


@pytest.fixture
def root(app: object) -> str:
    """The folder under which this site allows storages."""
    return str(runtime.current().storage_roots[0])


def test_a_storage_is_saved_and_tested_by_one_press(visitor: Visitor, root: str) -> None:
    form = {
        "provider": "fs",
        "label": "mirror",
        "path": f"{root}/mirror",
        "prefix": "nightly",
        "mode": "export",
        "visible": "site",
        "threads": "2",
    }

    answer = visitor.post("/interfaces/storages/new", form)

    assert storages.threads(storages.get("mirror")) == 2
    job = Job.get(Job.kind == "storage_test")
    assert answer.headers["Location"] == f"/interfaces/storages/{storages.get('mirror').id}?job={job.id}"
    page = visitor.get(answer.headers["Location"]).text
    assert "waiting for a worker" in page
    assert 'hx-trigger="load delay' in page


def test_a_storage_gets_as_many_objects_at_once_as_the_site_says_unless_it_says_so_itself(
    visitor: Visitor, root: str, admin: Actor
) -> None:
    storages.add("mirror", "fs", path=f"{root}/mirror", actor=admin)
    assert storages.threads(storages.get("mirror")) == 4
    storages.edit("mirror", threads="9", actor=admin)
    assert storages.threads(storages.get("mirror")) == 9
    assert "Parallel transfers" in visitor.get(f"/interfaces/storages/{storages.get('mirror').id}").text
    storages.edit("mirror", threads="", actor=admin)
    assert storages.threads(storages.get("mirror")) == 4


def test_a_storage_is_saved_without_a_test_if_one_wants(visitor: Visitor, root: str) -> None:
    form = {
        "provider": "fs",
        "label": "mirror",
        "path": f"{root}/mirror",
        "prefix": "",
        "mode": "export",
        "visible": "site",
    }

    answer = visitor.post("/interfaces/storages/new", {**form, "save_only": "1"}, follow_redirects=True)

    assert "mirror is saved." in answer.text
    assert not Job.select().exists()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("label", "", "The label needs at least one visible character."),
        ("label", "taken", "A storage taken already exists."),
        ("path", "/etc", "/etc"),
        ("path", "", ""),
        ("path", "relative/folder", ""),
        ("path", "ROOT/../../etc", ""),
        ("prefix", "../up", ""),
        ("prefix", "a//b", ""),
        ("mode", "steal", "'steal' is not a mode."),
        ("visible", "everybody", "Visible must be one of"),
        ("visible", "group:none", "There is no group 'none'"),
        ("visible", "project:a/b", "There is no project 'a/b'"),
        ("threads", "33", "Parallel transfers must be from 1 to 32, or empty; 33 is not."),
        ("threads", "two", "Parallel transfers must be from 1 to 32, or empty; two is not"),
    ],
)
def test_a_bad_storage_is_refused_beside_its_field(
    visitor: Visitor, admin: Actor, root: str, field: str, value: str, message: str
) -> None:
    storages.add("taken", "fs", path=f"{root}/taken", actor=admin)
    form = {
        "provider": "fs",
        "label": "mirror",
        "path": f"{root}/mirror",
        "prefix": "",
        "mode": "export",
        "visible": "site",
    }

    answer = visitor.post("/interfaces/storages/new", {**form, field: value.replace("ROOT", root)})

    refusal(answer, message)
    assert f'id="{field}-e"' in answer.text
    assert len(storages.list_all()) == 1
    assert not Job.select().exists()


def test_a_storage_is_edited(visitor: Visitor, admin: Actor, root: str) -> None:
    storage = storages.add("mirror", "fs", path=f"{root}/mirror", actor=admin)
    form = {
        "provider": "fs",
        "label": "vault",
        "path": f"{root}/vault",
        "prefix": "p",
        "mode": "both",
        "visible": "site",
        "save_only": "1",
    }

    visitor.post(f"/interfaces/storages/{storage.id}/edit", form)
    refusal(visitor.post(f"/interfaces/storages/{storage.id}/edit", {**form, "mode": "x"}), "is not a mode")

    view = storages.view(storages.by_id(storage.id))
    assert (view["label"], view["prefix"], view["mode"]) == ("vault", "p", "both")


def test_a_bucket_that_the_command_line_added_has_a_page_without_its_secret(visitor: Visitor, admin: Actor) -> None:
    fields = {"bucket": "research", "endpoint": "https://s3.site.example:9000", "access_key": "K"}
    storage = storages.add("bucket", "s3", secret={"secret_key": "a-planted-secret"}, actor=admin, **fields)
    assert "research at s3.site.example:9000" in visitor.get("/interfaces/storages/").text
    page = visitor.get(f"/interfaces/storages/{storage.id}")
    assert page.status_code == 200
    assert "planted" not in page.text


def test_a_storage_is_removed_by_typing_its_label(visitor: Visitor, admin: Actor, root: str) -> None:
    storage = storages.add("mirror", "fs", path=f"{root}/mirror", actor=admin)
    path = f"/interfaces/storages/{storage.id}/remove"

    assert "Type <b>mirror</b> to confirm" in visitor.get(path).text
    refusal(visitor.post(path, {"sure": "miror"}), "Type mirror to confirm. Nothing was removed.")
    refusal(visitor.post(path), "Type mirror to confirm. Nothing was removed.")
    assert len(storages.list_all()) == 1

    assert "mirror is removed." in visitor.post(path, {"sure": "mirror"}, follow_redirects=True).text
    assert storages.list_all() == []


def test_a_storage_in_use_is_not_removed(visitor: Visitor, admin: Actor, root: str) -> None:
    storage = storages.add("mirror", "fs", path=f"{root}/mirror", actor=admin)
    storages.request_test("mirror", actor=admin)

    answer = visitor.post(f"/interfaces/storages/{storage.id}/remove", {"sure": "mirror"})

    refusal(answer, "Cancel it or wait until it ends")


def test_an_export_needs_a_storage_and_says_so(visitor: Visitor) -> None:
    assert "Add storage" in visitor.get("/exports/").text
    assert "Add one first" in visitor.get("/exports/new").text


def tried(job_id: int) -> None:
    """What the worker does with a dry run."""
    runs.perform(job_id, lambda this: dry_run.run(this, destination=destinations.open_storage(this.job)))


def test_a_new_storage_is_for_export_and_import_and_a_new_export_has_sidecars(
    visitor: Visitor, admin: Actor, root: str
) -> None:
    form = visitor.get("/interfaces/storages/new?provider=fs").text
    assert re.search(r'<option[^>]* value="both"[^>]*>Export and import', form[: form.index('value="export"')])
    a_project("trial", actor=admin)
    assert storages.add("mirror", "fs", path=f"{root}/mirror", actor=admin).mode == "both"

    assert re.search(r'<input[^>]*name="sidecars"[^>]* checked', visitor.get("/exports/new?to=mirror").text)


def test_an_export_is_tried_confirmed_and_started(visitor: Visitor, admin: Actor, root: str) -> None:
    store_vendor_file("CT_small.dcm", a_project("trial", actor=admin))
    storages.add("mirror", "fs", path=f"{root}/mirror", actor=admin)

    answer = visitor.post("/exports/new", {"project": "neuro/trial", "to": "mirror"}, follow_redirects=True)

    assert "neuro/trial to mirror" in answer.text
    assert "Start this export" not in answer.text
    (job,) = jobs.list_recent()
    tried(job.id)
    page = text_of(visitor.get(f"/jobs/{job.id}").text)
    assert "1 identifiable patient leaves the site." in page
    assert "1 object to send" in page

    refusal(visitor.post(f"/exports/{job.id}/start"), "confirm that this is authorised")
    assert exports.list_recent() == []
    answer = visitor.post(f"/exports/{job.id}/start", {"confirmed": "y"}, follow_redirects=True)

    assert "Cancel export" in answer.text
    assert len(exports.list_recent()) == 1
    assert "neuro/trial" in visitor.get("/exports/").text
    assert visitor.get("/exports/?only=active").status_code == 200


def test_a_dry_run_of_what_lies_there_already_says_that_nothing_is_to_be_sent(
    visitor: Visitor, admin: Actor, root: str
) -> None:
    store_vendor_file("CT_small.dcm", a_project("trial", actor=admin))
    storages.add("mirror", "fs", path=f"{root}/mirror", actor=admin)
    job = exports.start("neuro/trial", to="mirror", actor=admin)
    runs.perform(job.id, lambda this: exports.run(this, destination=destinations.open_storage(this.job)))
    again = exports.dry_run("neuro/trial", to="mirror", actor=admin)
    tried(again.id)

    page = text_of(visitor.get(f"/jobs/{again.id}").text)
    exported = text_of(visitor.get(f"/jobs/{job.id}").text)

    assert "1 identifiable patient left the site; names, birth dates and IDs are in the objects" in exported
    assert "Nothing to send: an object exists at each path." in page
    assert "1 identifiable patient may leave the site." in page


def test_the_form_of_an_export_has_as_many_rules_as_one_wants(visitor: Visitor, admin: Actor, root: str) -> None:
    a_project("trial", actor=admin)
    storages.add("mirror", "fs", path=f"{root}/mirror", actor=admin)
    form = {"project": "neuro/trial", "to": "mirror", "level_1": "session", "path_1": "{subject}/{file}"}

    more = visitor.post("/exports/new", {**form, "act": "add"}).text
    assert 'aria-label="Rule 2"' in more
    assert 'value="{subject}/{file}"' in more
    form |= {"level_2": "all", "path_2": "{file}", "include_2": "colour is red"}
    refused = visitor.post("/exports/new", {**form, "act": "try"})
    refusal(refused, "does not begin with a field")
    assert 'id="include_2-e"' in refused.text
    fewer = visitor.post("/exports/new", {**form, "act": "remove-1"}).text
    assert 'value="{file}"' in fewer
    assert 'value="{subject}/{file}"' not in fewer
    assert jobs.list_recent() == []


def test_a_form_of_an_export_is_filled_like_an_earlier_one(visitor: Visitor, admin: Actor, root: str) -> None:
    a_project("trial", actor=admin)
    storages.add("mirror", "fs", path=f"{root}/mirror", actor=admin)
    rules = [{"level": "session", "include": ["modality is MR", "file ends .pdf"], "path": "{subject}/{file}"}]
    options = Options(rules=rules, existing="different", bandwidth="2.5 MB")
    job = exports.start("neuro/trial", to="mirror", actor=admin, options=options)

    page = visitor.get(f"/exports/new?like={job.id}").text

    assert "modality is MR\nfile ends .pdf</textarea>" in page
    assert 'value="{subject}/{file}"' in page
    assert '<option value="different" selected>' in page
    assert 'value="2.5 MB"' in page


def test_what_an_export_is_of_is_named_wherever_it_stands(visitor: Visitor, admin: Actor, root: str) -> None:
    project = a_project("trial", actor=admin)
    store_vendor_file("CT_small.dcm", project)
    storages.add("mirror", "fs", path=f"{root}/mirror", actor=admin)
    session = Session.get()
    name = f"1CT1/{session.label}"

    form = visitor.get(f"/exports/new?project=neuro/trial&to=mirror&level=session&only=%23{session.id}").text
    assert f'value="{name}"' in form
    options = Options(level="session", only=f"#{session.id}")
    job = exports.start("neuro/trial", to="mirror", actor=admin, options=options)
    row = schedules.add(job.id, "0 2 * * *", confirmed=True, actor=admin)
    assert row.label == f"neuro/trial, session {name} to mirror"
    of_session = f"session {name}"
    pages = (f"/jobs/{job.id}", f"/jobs/{job.id}/progress", "/exports/", f"/exports/schedules/new?job={job.id}")
    for path in (*pages, "/exports/schedules/", f"/exports/schedules/{row.id}"):
        assert of_session in text_of(visitor.get(path).text), path
    assert f'value="{name}"' in visitor.get(f"/exports/new?like={job.id}").text
    trash.move_to_trash("session", session.id, actor=admin)
    for path in (*pages, f"/exports/schedules/{row.id}"):
        assert f"{of_session}, which is no longer there" in text_of(visitor.get(path).text), path


@pytest.mark.parametrize("state", ["bad", "warn", "ok"])
def test_the_page_of_a_storage_says_what_its_test_found_only_once(
    visitor: Visitor, admin: Actor, root: str, state: str
) -> None:
    row = storages.add("mirror", "fs", path=f"{root}/mirror", actor=admin)
    job = jobs.get(storages.request_test("mirror", actor=admin))
    found, whole = "The folder is not there.", "Every step of the test passed."
    told = {"bad": f"Listed: {found}", "warn": found, "ok": whole}[state]
    page, part = f"/interfaces/storages/{row.id}", {"HX-Request": "true", "HX-Request-Type": "partial"}

    storages.record_test(row.id, state="failed", message="It was away before.")
    assert text_of(visitor.get(page).text).count("It was away before.") == 1
    steps = [{"name": "Listed", "state": state, "message": "" if state == "ok" else found}]
    jobs.finish(job, "failed" if state == "bad" else "done", told, steps=steps)
    storages.record_test(row.id, state={"bad": "failed", "warn": "degraded"}.get(state, state), message=told)

    for headers in ({}, part):
        said = text_of(visitor.get(page, headers=headers).text)
        assert said.count(whole if state == "ok" else found) == 1
    storages.record_test(row.id, state="failed", message="It is away since.")
    assert text_of(visitor.get(page).text).count("It is away since.") == 1


def test_the_test_that_an_export_made_stands_on_the_page_of_its_storage(
    visitor: Visitor, admin: Actor, root: str
) -> None:
    store_vendor_file("CT_small.dcm", a_project("trial", actor=admin))
    row = storages.add("mirror", "fs", path=f"{root}/mirror", actor=admin)
    page = f"/interfaces/storages/{row.id}"

    def export() -> int:
        job = exports.start("neuro/trial", to="mirror", actor=admin)
        run_export(job.id)
        return job.id

    first = export()
    second = export()
    told = text_of(visitor.get(page).text)
    assert f", passed, before export {first}" in told
    assert "Read back : passed The same bytes, by their SHA-256." in told
    assert "tested" not in exports.get(second).result
    test = storages.request_test("mirror", actor=admin)
    runs.perform(test, connection_test.run_test)
    assert "before export " not in text_of(visitor.get(page).text)
    Path(f"{root}/mirror").rename(f"{root}/away")
    Storage.update(tested=now() + timedelta(seconds=1), state="failed").execute()
    last = export()
    Storage.update(tested=now() + timedelta(seconds=1)).execute()
    told = text_of(visitor.get(page).text)
    assert f"failed, before export {last}" in told
    assert "edit its settings" in told


def test_the_preview_shows_where_real_objects_would_go(visitor: Visitor, admin: Actor, root: str) -> None:
    store_vendor_file("CT_small.dcm", a_project("trial", actor=admin))
    storages.add("mirror", "fs", path=f"{root}/mirror", prefix="nightly", actor=admin)
    form = {"project": "neuro/trial", "to": "mirror", "level": "project", "path_1": "{modality}/{file}"}

    assert "mirror/nightly/ CT/" in text_of(visitor.post("/exports/preview", form).text)
    left = visitor.post("/exports/preview", {**form, "exclude_1": "modality is CT"}).text
    assert "Rule 1 excludes it: modality is CT" in left
    assert "There is no subject" in visitor.post("/exports/preview", {**form, "level": "subject", "only": "?"}).text
    assert visitor.post("/exports/preview", {}).status_code == 200


def test_the_preview_of_what_goes_to_a_peer_shows_objects_and_no_paths(visitor: Visitor, admin: Actor) -> None:
    project = a_project("trial", actor=admin)
    store_vendor_file("CT_small.dcm", project)
    add_file(project, "protocol.pdf", b"%PDF", admin)
    form = {"project": "neuro/trial", "to": "peer/Room 3", "level": "project", "path_1": "{modality}/{file}"}

    part = visitor.post("/exports/preview", form).text

    said = text_of(part)
    assert "CT Image Storage trial/" in said
    assert "protocol.pdf Skipped Not a single DICOM object" in said
    assert "A peer receives objects, not paths" in said
    assert "<mark>" not in part
    of_one = visitor.post("/exports/preview", {**form, "level": "session", "only": "#1"}).text
    assert "sample objects of 1CT1/" in of_one


@pytest.mark.parametrize(
    ("project", "to"), [("neuro/none", "mirror"), ("neuro", "mirror"), ("neuro/trial", "none"), ("", "")]
)
def test_a_bad_export_is_refused_and_none_begins(
    visitor: Visitor, admin: Actor, root: str, project: str, to: str
) -> None:
    a_project("trial", actor=admin)
    storages.add("mirror", "fs", path=f"{root}/mirror", actor=admin)

    answer = visitor.post("/exports/new", {"project": project, "to": to})

    assert answer.status_code == 422
    assert 'class="err"' in answer.text
    assert exports.list_recent() == []
