"""Imports in the web: what their forms start, and what they refuse."""

import pytest

from dimse_worker import destinations
from portal import runtime
from portal.access.actors import Actor
from portal.imports import imports
from portal.imports.request import ImportRequest
from portal.jobs import jobs, runs
from portal.models import File
from portal.storage import storages
from portal.tree import projects
from tests.fixtures.archive import a_project, an_object, store, vendor_file
from tests.fixtures.web import Visitor, refusal, text_of

WORK = {"import": imports.run, "import_dry_run": imports.run_dry_run}


@pytest.fixture
def inbox(app: object, admin: Actor) -> None:
    """A project, and a storage with one object of DICOM and one file that is none."""
    a_project("trial", actor=admin)
    folder = runtime.current().storage_roots[0] / "inbox"
    folder.mkdir(parents=True)
    (folder / "ct").write_bytes(vendor_file("CT_small.dcm").read_bytes())
    (folder / "notes.txt").write_bytes(b"notes")
    storages.add("inbox", "fs", path=str(folder), mode="import", actor=admin)


def work(job_id: int) -> None:
    """What the worker does."""
    runs.perform(job_id, lambda this: WORK[this.job.kind](this, destination=destinations.open_storage(this.job)))


def test_an_import_begins_on_the_page_of_its_storage_and_is_tried_and_started(visitor: Visitor, inbox: None) -> None:
    page = visitor.get(f"/interfaces/storages/{storages.get('inbox').id}").text
    assert "/imports/new?of=inbox" in page
    assert "New import" in visitor.get("/imports/").text
    visitor.post("/imports/new", {"of": "inbox", "to": "neuro/trial", "by": "headers"})
    [tried] = jobs.list_recent()
    assert "the dry run continues" in visitor.get(f"/jobs/{tried.id}").text
    work(tried.id)
    page = text_of(visitor.get(f"/jobs/{tried.id}").text)
    assert "1 object to import" in page
    assert "1 object refused" in page
    assert File.select().count() == 0

    answer = visitor.post(f"/imports/{tried.id}/start", follow_redirects=True)
    assert "Cancel import" in answer.text
    [job] = imports.list_all()
    work(job.id)
    page = text_of(visitor.get(f"/jobs/{job.id}").text)
    assert "2 objects: 1 new, 1 failed. notes.txt" in page
    assert "Project neuro/trial From inbox Placed by DICOM headers" in page
    assert File.get().origin_via == f"import {job.id} from inbox"
    assert "from inbox, import" in text_of(visitor.get("/imports/").text)
    assert "neuro/trial" in visitor.get("/imports/?format=csv").text
    assert 'value="headers" selected' in visitor.get(f"/imports/new?like={job.id}").text


def test_an_import_that_ends_with_a_conflict_leads_to_it(visitor: Visitor, inbox: None, admin: Actor) -> None:
    store(an_object(ImageComments="other"), projects.get_by_path("neuro/trial"))
    job = imports.start(ImportRequest(of="inbox", to="neuro/trial"), actor=admin)
    work(job.id)

    page = visitor.get(f"/jobs/{job.id}").text

    assert "1 in conflict" in text_of(page)
    assert 'href="/data/conflicts/"' in page.partition('aria-label="Progress"')[0].partition('id="job"')[2]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"of": "nothing"}, "There is no storage"),
        ({"to": "neuro/none"}, "There is no project"),
        ({"prefix": "/abs"}, "The prefix must not begin with a slash"),
        ({"by": "path", "path": "{file}/{subject}"}, "The path must end with"),
    ],
)
def test_a_bad_import_is_refused_and_none_begins(
    visitor: Visitor, inbox: None, changed: dict[str, str], says: str
) -> None:
    refusal(visitor.post("/imports/new", {"of": "inbox", "to": "neuro/trial", "by": "headers", **changed}), says)
    assert jobs.list_recent() == []


def test_without_a_storage_to_import_from_the_form_says_what_is_missing(visitor: Visitor) -> None:
    assert "Add storage" in visitor.get("/imports/").text
    assert "There is no external storage yet to import from." in visitor.get("/imports/new").text


def test_a_storage_for_export_only_is_named_with_the_link_that_changes_it(visitor: Visitor, admin: Actor) -> None:
    root = runtime.current().storage_roots[0]
    storage = storages.add("Vault", "fs", path=str(root / "vault"), mode="export", actor=admin)
    link = f'href="/interfaces/storages/{storage.id}/edit"'

    page = visitor.get("/imports/new").text
    assert "All external storages are for export only." in text_of(page)
    assert link in page

    storages.add("Inbox", "fs", path=str(root / "inbox"), actor=admin)
    a_project("trial", actor=admin)
    page = visitor.get("/imports/new").text
    assert "Not listed because for export only: Vault . Edit one to import from it." in text_of(page)
    assert link in page
