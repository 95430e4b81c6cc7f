"""Another program fills the disk to the last byte: what is stored can be read, and who can free space gets in."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from peewee import PeeweeException
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import build_role, evt
from pynetdicom.presentation import build_context

from portal import migrations, models, runtime, settings
from portal.access.actors import operator
from portal.archive import ballast
from portal.models import Association, Caller, Job
from portal.peers import associations, refused_callers
from portal.processes import startup
from portal.query import retrieve_jobs
from portal.query.retrieve_jobs import RetrieveProgress
from portal.users import users
from tests.fixtures.archive import a_project
from tests.fixtures.archive import store as take_in
from tests.fixtures.dimse import (
    SECONDARY_CAPTURE,
    STUDY_FIND,
    STUDY_GET,
    Encoded,
    associated,
    enable,
    image,
    register,
    store,
)
from tests.fixtures.full_disk import SmallDisk, small_disk
from tests.fixtures.up import Up, until
from tests.fixtures.web import token_in

pytestmark = [pytest.mark.xdist_group("full disk"), pytest.mark.timeout(240)]

MEGABYTES = 192
EMAIL = "ada@site.example"
PASSWORD = "a-good-password"
STUDY = generate_uid()


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDisk]:
    with small_disk(tmp_path_factory.mktemp("full_disk") / "data", MEGABYTES) as disk:
        yield disk


@pytest.fixture(scope="module")
def up(disk: SmallDisk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A site on a small disk that holds a study of two objects, and whose disk is filled once it is ready."""
    up = Up(disk.folder, within=disk.within)
    shutil.copytree(furnished(tmp_path_factory.mktemp("site") / "data", up.dimse_port), disk.seen, dirs_exist_ok=True)
    try:
        up.start()
        up.ready()
        disk.fill()
        yield up
    finally:
        up.end()


def furnished(data: Path, dimse_port: int) -> Path:
    """A site with an admin, a project, a peer and two objects, made on another disk."""
    chosen = replace(settings.load(data, {"PORTAL_CHEAP_PASSWORDS": "1"}), min_free=1)
    startup.open_folder(chosen)
    startup.open_site(chosen)
    migrations.apply(chosen.run / "migrate.lock")
    with models.connection():
        users.add(EMAIL, PASSWORD, True, actor=operator())
        project = a_project("TRIAL1", actor=operator())
        register("SCANNER")
        enable(dimse_port)
        for _ in range(2):
            take_in(image(StudyInstanceUID=STUDY), project)
    runtime.archive().close()
    return data


def an_object() -> Encoded:
    return Encoded.of(image(StudyInstanceUID=STUDY))


def study_keys() -> Dataset:
    ds = Dataset()
    ds.QueryRetrieveLevel, ds.StudyInstanceUID = "STUDY", STUDY
    return ds


def find(port: int) -> int:
    """How many studies are found."""
    with associated(port, [build_context(STUDY_FIND)], calling="SCANNER") as assoc:
        *matches, (final, _) = assoc.send_c_find(study_keys(), STUDY_FIND)
    assert final.Status == 0
    return len(matches)


def get(port: int) -> int:
    """How many objects are retrieved."""
    contexts = [build_context(STUDY_GET), build_context(SECONDARY_CAPTURE, ExplicitVRLittleEndian)]
    roles = [build_role(SECONDARY_CAPTURE, scp_role=True)]
    taken = [(evt.EVT_C_STORE, lambda _event: 0)]
    with associated(port, contexts, calling="SCANNER", roles=roles, handlers=taken) as assoc:
        *_, (final, _) = assoc.send_c_get(study_keys(), STUDY_GET)
    assert final.Status == 0
    return int(final.NumberOfCompletedSuboperations)


class Browser:
    def __init__(self, url: str) -> None:
        self._url, self._session = url, requests.Session()

    def get(self, path: str) -> requests.Response:
        return self._session.get(self._url + path, timeout=60)

    def post(self, path: str, page: str, **form: str) -> requests.Response:
        token = token_in(self.get(page).text)
        return self._session.post(self._url + path, data={"csrf_token": token, **form}, timeout=60)

    def sign_in(self) -> requests.Response:
        return self.post("/sign-in", "/sign-in", email=EMAIL, password=PASSWORD)


def assert_readable(up: Up) -> None:
    assert (find(up.dimse_port), get(up.dimse_port)) == (1, 2)
    browser = Browser(up.url)
    assert browser.sign_in().status_code == 200
    for path in ("/", "/disk/", "/settings/", "/data/", "/jobs/", "/activity/"):
        assert browser.get(path).status_code == 200


def test_who_can_free_space_signs_in_and_throws_away_and_it_is_written_down(up: Up, disk: SmallDisk) -> None:
    assert_readable(up)
    browser = Browser(up.url)
    browser.sign_in()
    page = browser.get("/")
    assert "The disk is full" in page.text
    before = disk.number("SELECT count(*) FROM audit WHERE action = 'user:signed_in'")
    assert before >= 2
    assert browser.post("/data/file/1/trash", "/data/file/1/trash").status_code == 200
    assert disk.number("SELECT count(*) FROM trash") == 1
    trash_id = disk.number("SELECT max(id) FROM trash")
    assert browser.post(f"/data/trash/{trash_id}/restore", "/password").status_code == 200
    assert 0 < (disk.seen / "ballast").stat().st_size < MEGABYTES * ballast.MEGABYTE // ballast.DISK_SHARE


def test_nothing_is_taken_in_and_the_sender_is_told_why(up: Up, disk: SmallDisk) -> None:
    [sent] = store(up.dimse_port, [an_object()])
    assert (sent.status, sent.comment[:16]) == (0xA700, "The disk is full")


def test_a_stopped_site_starts_again_and_says_what_is_the_matter(up: Up, disk: SmallDisk) -> None:
    assert up.stop() == 0
    disk.fill()
    up.start()
    up.ready()
    assert_readable(up)


def test_without_any_ballast_what_is_stored_can_still_be_read(up: Up, disk: SmallDisk) -> None:
    with (disk.seen / "ballast").open("r+b") as file:
        file.truncate(0)
    for _ in range(2):
        disk.fill()
        assert_readable(up)


def test_once_there_is_room_again_the_ballast_is_whole_again_and_objects_are_taken_in(up: Up, disk: SmallDisk) -> None:
    disk.empty()
    whole = MEGABYTES * ballast.MEGABYTE // ballast.DISK_SHARE
    until(lambda: (disk.seen / "ballast").stat().st_blocks * 512 == whole)
    assert [sent.status for sent in store(up.dimse_port, [an_object()])] == [0]
    browser = Browser(up.url)
    browser.sign_in()
    assert "disk is full" not in browser.get("/").text


def test_a_start_without_any_room_says_that_the_disk_is_full(up: Up, disk: SmallDisk) -> None:
    up.stop()
    (disk.seen / "ballast").unlink()
    disk.fill()
    up.start()
    assert up.process
    assert up.process.wait(60) == 1
    assert "The disk is full. Free some space, then try again." in up.said


def test_a_full_disk_that_the_database_has_for_itself_is_named_and_nothing_is_taken_in(tmp_path: Path) -> None:
    site = furnished(tmp_path / "site", dimse_port=11112)
    shutil.move(site / "archive", tmp_path / "archive")
    with small_disk(tmp_path / "data", 32) as disk:
        shutil.copytree(site, disk.seen, dirs_exist_ok=True)
        (disk.seen / "archive").symlink_to(tmp_path / "archive")
        disk.fill(leave=ballast.MEGABYTE)
        ended = subprocess.run(
            [*disk.within, sys.executable, "-c", ASK, str(disk.folder)], capture_output=True, text=True, check=False
        )
    told = json.loads(ended.stdout)
    assert [part["holds"] for part in told["disks"]] == [["archive"], ["database", "run"]]
    assert told["disks"][0]["problem"] == ""
    assert told["problem"].startswith(
        f"The disk of database and run ({disk.folder}) has 1.0 MB free, less than the 1.7 MB of"
    )
    assert "uploads and C-STORE are refused. Free some space." in told["problem"]
    assert (
        ended.stderr.strip()
        == "The database's disk is nearly full: uploads and C-STORE are refused. Free some space; then send again."
    )


ASK = """
import json, sys
from pathlib import Path
from portal.processes import health
from portal import models
from portal.ingest import disk_reserve as reserve
from portal import runtime
from portal import settings
from portal.errors import NoSpace
runtime.start(settings.load(Path(sys.argv[1])))
with models.connection():
    print(json.dumps(health.report()["disk"]))
    try:
        reserve.check()
    except NoSpace as error:
        print(error.message, file=sys.stderr)
"""
"""What `portal status` says of the disks, and what an object that comes in is told."""


def leave_no_room() -> None:
    """From now on SQLite says to this thread that the disk is full where a write needs another page."""
    pages = models.database.execute_sql("PRAGMA page_count").fetchone()[0]
    models.database.execute_sql(f"PRAGMA max_page_count = {pages}")


@pytest.mark.usefixtures("site")
def test_notes_are_left_out_and_nothing_else_is(caplog: pytest.LogCaptureFixture) -> None:
    long = "x" * 10_000  # more than a page has left
    users.add(EMAIL, PASSWORD, True, actor=operator())
    leave_no_room()
    call = {"calling": "A", "called": "B", "address": "10.0.0.1"}
    number = associations.open(peer_id=None, role="acceptor", **call, contexts=[{"name": long}])
    done = associations.Progress(association_id=number, counts={"store": {long: 1}}, size=1)
    associations.refresh([done])
    associations.close(done, outcome="released", message=long)
    job = retrieve_jobs.start("get", actor=operator(), what=long, params={}, total=2, association_id=number)
    progress = RetrieveProgress(done=1, failed=0, size=1)
    retrieve_jobs.record_progress(job, progress)
    retrieve_jobs.finish(job, progress, state="done", message="", status=0)
    refused_callers.record(**call, reason="unknown", message=long)
    users.sign_in(EMAIL, PASSWORD, address="10.0.0.1" + long)
    assert (number, job) == (0, None)
    assert caplog.text.count("could not be recorded, because the disk is full") == 4
    assert [table.select().count() for table in (Association, Job, Caller)] == [0, 0, 0]
    with pytest.raises(PeeweeException, match="full"):
        users.add("ben@site.example", PASSWORD, True, actor=replace(operator(), name=long))
    assert users.counts() == {"admin": 1}
