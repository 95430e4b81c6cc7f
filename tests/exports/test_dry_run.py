"""Dry runs, and exports of a part, by rules, at paths of one's own."""

import contextlib
from pathlib import Path
from typing import Any

import pytest

from dimse_worker import destinations
from portal.access.actors import Actor
from portal.errors import BadValue, Missing
from portal.exports import dry_run, exports, selection
from portal.exports.params import ExportParams
from portal.exports.request import Options
from portal.jobs import jobs, runs
from portal.jobs.runs import Run, RunEnd
from portal.models import Acquisition, Audit, Job, Project, Session, Storage
from portal.storage_drivers.s3 import driver as s3
from portal.trash import trash
from portal.tree import containers
from tests.fixtures.archive import an_object, store
from tests.fixtures.stores import Answer, Front, Request
from tests.fixtures.work import add_file, add_files, files_below


def tried(job: Job, asked_for: int = dry_run.MAX_STAT_REQUESTS) -> Job:
    """What the worker does with a dry run, in this process."""

    def work(this: Run) -> RunEnd:
        return dry_run.run(this, destination=destinations.open_storage(this.job), asked_for=asked_for)

    runs.perform(job.id, work)
    return jobs.get(job.id)


def run(job: Job) -> Job:
    runs.perform(job.id, lambda this: exports.run(this, destination=destinations.open_storage(this.job)))
    return jobs.get(job.id)


def states(job: Job) -> dict[str, str]:
    """State of each item by its key."""
    return {item.key: item.state for item in exports.items(job.id)}


def rule(**changes: Any) -> Options:
    return Options(rules=[changes])


def test_a_dry_run_writes_nothing_and_says_what_is_there_already(
    acquisition: Acquisition, mirror: Storage, folder: Path, admin: Actor
) -> None:
    add_files(acquisition, 4, 100, admin)
    run(exports.start("lab/Trial", to="mirror", actor=admin))
    place = folder / "Trial/S-01/Visit 1/T1"
    (place / "0001.bin").unlink()
    (place / "0002.bin").write_bytes(b"somebody else's")
    add_file(acquisition, "new.bin", b"new", admin)
    (place / "new.bin").write_bytes(b"new")
    before = files_below(folder)

    job = tried(exports.dry_run("lab/Trial", to="mirror", actor=admin))

    assert files_below(folder) == before
    assert job.state == "done"
    expected = {"0000": "same", "0001": "pending", "0002": "other", "0003": "same", "new": "same"}
    assert states(job) == {f"Trial/S-01/Visit 1/T1/{name}.bin": state for name, state in expected.items()}
    assert job.message == "1 of 5 objects would be sent."
    assert exports.view(job)["found"] == {"same": 3, "pending": 1, "other": 1}
    for existing, sends in (("different", 2), ("always", 5)):
        job = tried(exports.dry_run("lab/Trial", to="mirror", actor=admin, options=Options(existing=existing)))
        assert job.message == f"{sends} of 5 objects would be sent."


def test_a_long_list_at_the_storage_is_listed_and_not_asked_for_one_by_one(
    acquisition: Acquisition, mirror: Storage, folder: Path, admin: Actor
) -> None:
    contents = add_files(acquisition, 3, 100, admin)
    place = folder / "Trial/S-01/Visit 1/T1"
    place.mkdir(parents=True)
    (place / "0000.bin").write_bytes(contents["0000.bin"])
    (place / "0001.bin").write_bytes(bytes(100))
    (place / "stranger").write_bytes(b"x")
    job = tried(exports.dry_run("lab/Trial", to="mirror", actor=admin), asked_for=1)
    assert list(states(job).values()) == ["same", "other", "pending"]


def test_the_export_of_a_dry_run_is_of_the_moment_of_that_and_by_its_rules(
    acquisition: Acquisition, mirror: Storage, folder: Path, admin: Actor
) -> None:
    add_files(acquisition, 2, 100, admin)
    options = rule(exclude=["file is 0001.bin"], path="{subject}/{file}")
    job = tried(exports.dry_run("lab/Trial", to="mirror", actor=admin, options=options))
    add_file(acquisition, "later.bin", b"later", admin)
    export = run(exports.start_after_dry_run(job.id, confirmed=False, actor=admin))
    assert states(export) == {"S-01/0000.bin": "verified", "Trial/S-01/Visit 1/T1/0001.bin": "unmatched"}
    assert export.message == "1 object exported and verified. 1 skipped by the rules."
    assert [key for key in files_below(folder) if not key.startswith("manifests/")] == ["S-01/0000.bin"]
    assert Audit.select().where(Audit.action == "export:tried").count() == 1


def test_patients_that_leave_are_counted_and_confirmed(project: Project, mirror: Storage, admin: Actor) -> None:
    store(an_object(), project)
    add_file(project, "protocol.pdf", b"x", admin)
    job = tried(exports.dry_run("lab/Trial", to="mirror", actor=admin))
    assert job.result["patients"] == 1
    with pytest.raises(BadValue, match="confirm that this is authorised") as refused:
        exports.start_after_dry_run(job.id, confirmed=False, actor=admin)
    assert refused.value.field == "confirmed"
    assert run(exports.start_after_dry_run(job.id, confirmed=True, actor=admin)).done == 2


def test_a_dry_run_that_is_not_done_starts_nothing(acquisition: Acquisition, mirror: Storage, admin: Actor) -> None:
    job = exports.dry_run("lab/Trial", to="mirror", actor=admin)
    with pytest.raises(BadValue, match="The dry run is waiting"):
        exports.start_after_dry_run(job.id, confirmed=True, actor=admin)
    with pytest.raises(Missing, match="another kind of job"):
        exports.start_after_dry_run(
            exports.start("lab/Trial", to="mirror", actor=admin).id, confirmed=True, actor=admin
        )


def test_two_objects_with_one_path_are_shown_and_never_sent(
    acquisition: Acquisition, mirror: Storage, folder: Path, admin: Actor
) -> None:
    second = containers.add_acquisition(acquisition.session_id, "T2", actor=admin)
    add_file(acquisition, "A.bin", b"1", admin)
    add_file(second, "a.bin", b"2", admin)
    add_file(second, "b.bin", b"3", admin)
    options = rule(path="{subject}/{file}")
    job = tried(exports.dry_run("lab/Trial", to="mirror", actor=admin, options=options))
    assert sorted(states(job).values()) == ["collides", "collides", "pending"]
    assert job.message == "1 of 3 objects would be sent. 2 share a path with another one: change the paths."
    with pytest.raises(BadValue, match="2 objects would get a path that another one has"):
        exports.start_after_dry_run(job.id, confirmed=True, actor=admin)

    export = run(exports.start("lab/Trial", to="mirror", actor=admin, options=options))
    assert (export.state, export.done, export.failed) == ("errors", 1, 2)
    export = run(jobs.retry(export.id, actor=admin))
    assert (export.state, export.done, export.failed) == ("errors", 1, 2)
    assert {key for key in files_below(folder) if not key.startswith("manifests/")} == {"S-01/b.bin"}


def test_the_first_rule_that_takes_an_object_decides_and_exclude_wins(
    project: Project, acquisition: Acquisition, mirror: Storage, admin: Actor
) -> None:
    add_file(project, "protocol.pdf", b"0", admin)
    for name in ("scan.dcm", "notes.txt", "odd.tmp"):
        add_file(acquisition, name, name.encode(), admin)
    rules = [
        {"level": "acquisition", "include": ["file ends .dcm", "file ends .tmp"], "exclude": ["file begins odd"]},
        {"level": "acquisition", "include": ["file ends .txt"], "path": "notes/{subject}/{file}"},
    ]
    job = tried(exports.dry_run("lab/Trial", to="mirror", actor=admin, options=Options(rules=rules)))
    assert states(job) == {
        "Trial/S-01/Visit 1/T1/scan.dcm": "pending",
        "notes/S-01/notes.txt": "pending",
        "Trial/S-01/Visit 1/T1/odd.tmp": "unmatched",
        "Trial/protocol.pdf": "unmatched",
    }
    reasons = {item.key.rpartition("/")[2]: item.message for item in exports.items(job.id, "unmatched")}
    assert reasons == {"odd.tmp": "Rule 1 excludes it: file begins odd", "protocol.pdf": "No rule takes it."}


def test_a_part_of_a_project_gets_the_paths_that_it_has_in_the_whole(
    project: Project, acquisition: Acquisition, mirror: Storage, admin: Actor
) -> None:
    twin = containers.add_subject(project.id, "s-01", actor=admin)
    visit = containers.add_session(twin.id, "Visit 1", actor=admin)
    again = containers.add_session(twin.id, "Visit 2", actor=admin)
    for session in (visit, again):
        add_file(containers.add_acquisition(session.id, "T1", actor=admin), "a.bin", b"a", admin)
    add_file(acquisition, "a.bin", b"a", admin)
    mark = f"s-01~{twin.id:08x}"

    def keys(level: str, only: str) -> set[str]:
        options = Options(level=level, only=only)
        return set(states(tried(exports.dry_run("lab/Trial", to="mirror", actor=admin, options=options))))

    assert keys("subject", "s-01") == {f"Trial/{mark}/Visit 1/T1/a.bin", f"Trial/{mark}/Visit 2/T1/a.bin"}
    assert keys("session", "s-01/Visit 2") == {f"Trial/{mark}/Visit 2/T1/a.bin"}
    assert keys("session", f"#{acquisition.session_id}") == {"Trial/S-01/Visit 1/T1/a.bin"}
    with pytest.raises(Missing, match="There is no session"):
        keys("session", "s-01/Visit 3")
    with pytest.raises(Missing, match="No study of this project is found"):
        keys("search", "4711")


def test_studies_are_found_by_a_search(project: Project, mirror: Storage, admin: Actor) -> None:
    store(an_object(PatientID="4711", StudyInstanceUID="1.2.1"), project)
    other = {"StudyInstanceUID": "1.2.2", "SeriesInstanceUID": "1.2.2.1", "SOPInstanceUID": "1.2.2.1.1"}
    store(an_object(PatientID="4712", **other), project)
    for text in ("4712", "1.2.2"):
        options = Options(level="search", only=text)
        job = tried(exports.dry_run("lab/Trial", to="mirror", actor=admin, options=options))
        (item,) = exports.items(job.id)
        assert "4712" in item.key


@pytest.mark.parametrize(
    ("existing", "state", "left"), [("never", "errors", b"old"), ("different", "done", b"1"), ("always", "done", b"1")]
)
def test_what_is_there_is_written_over_only_where_that_was_chosen(
    existing: str, state: str, left: bytes, acquisition: Acquisition, mirror: Storage, folder: Path, admin: Actor
) -> None:
    for name in "12":
        add_file(acquisition, name, name.encode(), admin)
    place = folder / "Trial/S-01/Visit 1/T1"
    place.mkdir(parents=True)
    (place / "1").write_bytes(b"old")
    (place / "2").write_bytes(b"2")
    same = (place / "2").stat().st_ino
    job = run(exports.start("lab/Trial", to="mirror", actor=admin, options=Options(existing=existing)))
    assert (job.state, (place / "1").read_bytes(), (place / "2").read_bytes()) == (state, left, b"2")
    assert ((place / "2").stat().st_ino == same) is (existing != "always")


def test_an_export_that_is_held_to_a_speed_arrives_whole(
    acquisition: Acquisition, mirror: Storage, admin: Actor
) -> None:
    add_files(acquisition, 2, 300, admin)
    job = exports.start("lab/Trial", to="mirror", actor=admin, options=Options(bandwidth="1000"))
    assert job.params["bandwidth"] == 1000
    job = run(job)
    assert (job.state, job.done) == ("done", 2)


LIST = b"<ListBucketResult><Contents><Key>Trial/something</Key><Size>1</Size></Contents></ListBucketResult>"
REFUSAL = b"<Error><Code>InvalidAccessKeyId</Code></Error>"


def only_lists(request: Request) -> Answer:
    """What a bucket says from which the credentials were taken away after its first list."""
    return Answer(200, LIST) if "list-type" in request.path else Answer(403, REFUSAL)


def test_a_storage_that_refuses_everything_fails_the_run_and_not_each_object(
    acquisition: Acquisition, mirror: Storage, admin: Actor
) -> None:
    add_files(acquisition, 30, 10, admin)
    job = exports.start("lab/Trial", to="mirror", actor=admin)
    with contextlib.closing(Front("127.0.0.1:9")) as refusing:
        refusing.rule = only_lists
        config = {"endpoint": refusing.url, "bucket": "taken", "access_key": "key"}
        bucket = s3.open_destination(config, "", {"secret_key": "secret"}, threads=1)
        runs.perform(job.id, lambda this: exports.run(this, destination=bucket))
    job = jobs.get(job.id)
    assert job.state == "failed"
    assert job.message == "127.0.0.1 does not know the access key. Check it, or enter a new one."
    assert (
        7 <= len(refusing.seen) < 40
    )  # a list, and two requests for each object: three were asked for, and not thirty
    assert run(jobs.retry(job.id, actor=admin)).state == "done"


@pytest.mark.parametrize(
    ("options", "field", "words"),
    [
        (Options(level="planet"), "level", "is none of"),
        (Options(level="subject"), "only", "Write the subject's label"),
        (Options(level="subject", only="S-99"), "only", "There is no subject 'S-99'"),
        (Options(existing="perhaps"), "existing", "is none of: never"),
        (Options(bandwidth="fast"), "bandwidth", "is no bandwidth"),
        (Options(bandwidth="1"), "bandwidth", "is no bandwidth"),
        (Options(rules=[{"path": "{colour}"}]), "path_1", "There is no field"),
    ],
)
def test_a_bad_option_is_refused_with_its_field_and_makes_no_job(
    options: Options, field: str, words: str, acquisition: Acquisition, mirror: Storage, admin: Actor
) -> None:
    for begin in (exports.start, exports.dry_run):
        with pytest.raises((BadValue, Missing), match=words) as refused:
            begin("lab/Trial", to="mirror", actor=admin, options=options)
        assert refused.value.field == field
    assert jobs.list_recent() == []


def test_what_an_export_is_of_is_said_by_its_label_of_now(
    acquisition: Acquisition, mirror: Storage, admin: Actor
) -> None:
    session = Session.get_by_id(acquisition.session_id)
    options = Options(level="session", only=f"#{session.id}")
    job = exports.dry_run("lab/Trial", to="mirror", actor=admin, options=options)

    assert (job.params["only"], selection.in_words(ExportParams.load(job.params))) == ("session S-01/Visit 1",) * 2
    assert selection.form_values(ExportParams.load(job.params)) == ("session", "S-01/Visit 1")
    Session.update(label="Baseline").where(Session.id == session.id).execute()
    assert exports.views([job])[0]["only"] == exports.view(job)["only"] == "session S-01/Baseline"
    containers.add_session(session.subject_id, "Baseline", actor=admin)
    assert selection.form_values(ExportParams.load(job.params)) == ("session", f"#{session.id}")
    trash.move_to_trash("session", session.id, actor=admin)
    assert selection.in_words(ExportParams.load(job.params)) == "session S-01/Visit 1, which is no longer there"
    assert selection.form_values(ExportParams.load(job.params)) == ("session", f"#{session.id}")


def test_what_was_kept_by_number_is_said_by_label(acquisition: Acquisition, admin: Actor) -> None:
    subject = Session.get_by_id(acquisition.session_id).subject_id
    kept = {"path": "lab/Trial", "only": f"subject #{subject}", "part": {"level": "subject", "ids": [subject]}}
    gone = {**kept, "only": "subject #4711", "part": {"level": "subject", "ids": [4711]}}
    study, searched = {"only": "study 1.2.840"}, {"only": "search 4711", "part": {"level": "session", "ids": [1, 2]}}

    assert selection.all_in_words([ExportParams.load(row) for row in (kept, gone, study, searched, {})]) == [
        *("subject S-01", "subject #4711, which is no longer there", "study 1.2.840", "studies of 4711", "")
    ]
    assert selection.with_label("lab/Trial", "subject", f"#{subject}") == "S-01"
    assert selection.with_label("lab/Trial", "subject", "#4711") == "#4711"
    assert selection.with_label("lab/Trial", "search", "#4711") == "#4711"
