import hashlib
import json
from pathlib import Path
from typing import Any

from dimse_worker import destinations
from portal.access.actors import Actor
from portal.exports import dry_run, exports, plan, sidecars
from portal.exports.request import Options
from portal.jobs import jobs, runs
from portal.models import Acquisition, File, Job, JobItem, Project, Sidecar, Storage, Subject
from tests.fixtures.archive import an_object, store
from tests.fixtures.work import add_file, add_files, files_below

HOME = "Trial/S-01/Visit 1/T1"
WITH = Options(sidecars=True)


def run(job: Job) -> Job:
    runs.perform(job.id, lambda this: exports.run(this, destination=destinations.open_storage(this.job)))
    return exports.get(job.id)


def told(folder: Path, key: str) -> Any:
    return json.loads((folder / key).read_bytes())


def test_each_object_has_a_document_beside_it_that_tells_where_it_was_and_how_it_came(
    project: Project, mirror: Storage, folder: Path, admin: Actor
) -> None:
    store(an_object(PatientID="P-1", IssuerOfPatientID="HOSP"), project)
    job = run(exports.start("lab/Trial", to="mirror", actor=admin, options=WITH))
    assert (job.state, job.total, job.done, job.message) == (
        "done",
        2,
        2,
        "1 object exported and verified, each with its sidecar.",
    )
    file = File.get()
    [key] = [name for name in files_below(folder) if name.endswith(".dcm.json")]
    document = told(folder, key)
    assert document["group"]["code"] == "lab"
    assert document["subject"]["patient_id"] == "P-1"
    assert document["subject"]["issuer"] == "HOSP"
    assert document["session"]["uid"]
    assert document["acquisition"]["uid"]
    assert document["file"]["name"] == file.name
    assert document["file"]["sha256"] == file.blob.digest
    assert document["file"]["received"] == file.created.isoformat()
    assert document["file"]["origin"] == {"type": "peer", "id": "1", "via": "CT1 127.0.0.1", "name": ""}
    assert document["site"]["id"] == sidecars.site_id()
    assert Sidecar.select().count() == 0


def test_the_manifest_names_each_document_with_the_object_that_it_is_of(
    acquisition: Acquisition, mirror: Storage, folder: Path, admin: Actor
) -> None:
    add_files(acquisition, 3, 100, admin)
    job = run(exports.start("lab/Trial", to="mirror", actor=admin, options=WITH))
    items = told(folder, job.result["manifest"]["key"])["items"]
    beside = {item["key"]: item["sidecar_of"] for item in items if "sidecar_of" in item}
    assert beside == {f"{HOME}/{number:04}.bin.json": f"{HOME}/{number:04}.bin" for number in range(3)}
    assert all(hashlib.sha256((folder / item["key"]).read_bytes()).hexdigest() == item["sha256"] for item in items)


def test_a_real_file_of_that_name_keeps_it(
    acquisition: Acquisition, mirror: Storage, folder: Path, admin: Actor
) -> None:
    add_file(acquisition, "scan.bin", b"scan", admin)
    add_file(acquisition, "SCAN.bin.JSON", b"mine", admin)
    long = add_file(acquisition, f"{'x' * 251}.bin", b"long", admin)
    job = run(exports.start("lab/Trial", to="mirror", actor=admin, options=WITH))
    assert (job.state, job.total) == ("done", 6)
    names = {name.removeprefix(f"{HOME}/") for name in files_below(folder)}
    scan, mine, last = (item.id for item in JobItem.select().order_by(JobItem.id).limit(3))
    assert {"scan.bin", "SCAN.bin.JSON", f"scan.bin~{scan:08x}.json", "SCAN.bin.JSON.json"} <= names
    assert (folder / HOME / "SCAN.bin.JSON").read_bytes() == b"mine"
    assert {len(name) for name in names if name.startswith("xxx")} == {255}
    assert (mine, last, long) == (scan + 1, scan + 2, long)


def test_a_document_is_of_the_moment_of_the_plan_whatever_the_rows_say_later(
    acquisition: Acquisition, mirror: Storage, folder: Path, admin: Actor
) -> None:
    add_files(acquisition, 1, 10, admin)
    job = exports.start("lab/Trial", to="mirror", actor=admin, options=WITH)
    runs.perform(job.id, lambda this: plan.plan(this) or runs.RunEnd(state="cancelled", message=""))
    Subject.update(label="Renamed").execute()
    job = run(jobs.retry(job.id, actor=admin))
    assert job.state == "done"
    assert told(folder, f"{HOME}/0000.bin.json")["subject"]["label"] == "S-01"


def test_a_dry_run_counts_the_documents_and_its_export_writes_them(
    acquisition: Acquisition, mirror: Storage, folder: Path, admin: Actor
) -> None:
    add_files(acquisition, 2, 10, admin)
    job = exports.dry_run("lab/Trial", to="mirror", actor=admin, options=WITH)
    runs.perform(job.id, lambda this: dry_run.run(this, destination=destinations.open_storage(this.job)))
    assert exports.get(job.id).result["found"]["pending"][0] == 4
    assert Sidecar.select().count() == 0
    started = run(exports.start_after_dry_run(job.id, confirmed=True, actor=admin))
    assert (started.state, len(files_below(folder))) == ("done", 5)
