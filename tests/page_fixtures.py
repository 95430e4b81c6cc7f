"""Every page of the site with an address of its own, on a site where each text from outside is an attack on it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from archive_fixtures import a_project, an_object, store, store_vendor_file
from browser_fixtures import EMAIL, PASSWORD
from flask import Flask
from pydicom import DataElement, Dataset, config
from werkzeug.serving import WSGIRequestHandler, make_server
from work_fixtures import add_file

from portal import migrations, models, runtime, settings, site_settings
from portal.access.actors import Actor, operator
from portal.app import create_app
from portal.devices import api_keys, devices
from portal.errors import Away
from portal.ingest import conflicts
from portal.jobs import jobs, runs
from portal.jobs.runs import End, Run
from portal.models import (
    Device,
    File,
    Job,
    JobItem,
    Project,
    QuarantinedRecord,
    Schedule,
    ScheduleRun,
    SegmentProblem,
    Series,
    Session,
    Subject,
    now,
    writing,
)
from portal.peers import associations, peers, refused_callers
from portal.storage import storages
from portal.trash import trash
from portal.users import grants, users

Addresses = tuple[str, ...]
LEFT_ICON = pytest.mark.filterwarnings("ignore:.*portal/static/:pytest.PytestUnraisableExceptionWarning")
"""A browser that leaves a page drops its request for the icon, whose file the tests' own server then leaves open."""

PAGES: dict[str, Addresses] = {
    "home.index": ("/",),
    "disk.index": ("/disk/",),
    "disk.bucket": ("/disk/bucket",),
    "disk.problems": ("/disk/problems",),
    "data.projects": ("/data/",),
    "data.place": (
        "/data/project/{project}",
        "/data/project/{empty}",
        "/data/subject/{subject}",
        "/data/session/{session}",
        "/data/acquisition/{acquisition}",
    ),
    "projects.new": ("/data/projects/new",),
    "projects.edit": ("/data/projects/{project}/edit",),
    "data.beside": ("/data/project/{project}/files",),
    "data.file": ("/data/file/{file}", "/data/file/{plain}"),
    "data.header": ("/data/file/{file}/header",),
    "frames.series": ("/data/series/{series}", "/data/series/{plan}"),
    "trash.index": ("/data/trash",),
    "trash.ask": ("/data/file/{file}/trash",),
    "trash.ask_purge": ("/data/trash/1/purge",),
    "conflicts.index": ("/data/conflicts/", "/data/conflicts/?only=keep"),
    "conflicts.show": ("/data/conflicts/{conflict}", "/data/conflicts/{decided}?only=all"),
    "exports.index": ("/exports/",),
    "exports.new": ("/exports/new",),
    "imports.index": ("/imports/",),
    "imports.new": ("/imports/new", "/imports/new?like={looked}"),
    "jobs.index": ("/jobs/",),
    "schedules.index": ("/exports/schedules/", "/exports/schedules/?q=pwned&only=stopped&sort=-next"),
    "schedules.new": ("/exports/schedules/new?job={failed}",),
    "schedules.show": ("/exports/schedules/{schedule}",),
    "schedules.ask_remove": ("/exports/schedules/{schedule}/remove",),
    "jobs.show": (
        "/jobs/{sent}",
        "/jobs/{failed}",
        "/jobs/{failed}?only=verified",
        "/jobs/{waiting}",
        "/jobs/{tried}",
        "/jobs/{looked}",
    ),
    "activity.associations_list": ("/activity/",),
    "activity.association_days": ("/activity/days",),
    "activity.refused": ("/activity/refused", "/activity/refused?only=ignored"),
    "activity.audit": ("/activity/audit",),
    "devices.index": ("/interfaces/devices/", "/interfaces/devices/?q=pwned&only=error&sort=-label"),
    "devices.new": ("/interfaces/devices/new",),
    "devices.show": ("/interfaces/devices/{device}", "/interfaces/devices/{silent}"),
    "devices.edit": ("/interfaces/devices/{device}/rename",),
    "devices.ask_revoke": ("/interfaces/devices/{device}/keys/{key}/revoke",),
    "peers.index": ("/interfaces/peers/",),
    "peers.new": ("/interfaces/peers/new",),
    "peers.show": ("/interfaces/peers/{peer}", "/interfaces/peers/{stopped}"),
    "peers.edit": ("/interfaces/peers/{peer}/edit",),
    "peers.ask_remove": ("/interfaces/peers/{peer}/remove",),
    "storages.index": ("/interfaces/storages/",),
    "storages.new": (
        "/interfaces/storages/new",
        *(f"/interfaces/storages/new?provider={name}" for name in ("fs", "s3", "gcs", "azure")),
    ),
    "storages.show": ("/interfaces/storages/{storage}", "/interfaces/storages/{bucket}"),
    "storages.edit": ("/interfaces/storages/{storage}/edit", "/interfaces/storages/{bucket}/edit"),
    "storages.ask_remove": ("/interfaces/storages/{storage}/remove",),
    "users.index": ("/users/",),
    "users.new": ("/users/new",),
    "users.ask_new_password": ("/users/{user}/new-password",),
    "users.show": ("/users/{user}", "/users/1"),
    "users.ask_role": ("/users/{user}/role", "/users/1/role"),
    "settings.edit": ("/settings/",),
    "settings.ask_sign_out_all": ("/settings/sign-out-all",),
    "first_steps.show": ("/first-steps/",),
    "session.sign_in": ("/sign-in",),
    "session.profile": ("/profile",),
    "session.password": ("/password",),
    "search.index": ("/search", "/search?q={attack}"),
    "help.index": ("/help/",),
    "help.page": ("/help/guide/peers", "/help/storage/s3"),
}
"""Route → its addresses on the site below: as it is, searched, and in its other states."""
ANSWERS: dict[str, str] = {
    "data.download": "/data/file/{plain}/download",
    "disk.download_record": "/disk/records/{record}/download",
    "help.picture": "/help/pictures/home.png",
    "first_steps.progress": "/first-steps/now",
    "data.session_zip": "/data/session/{session}/zip",
    "frames.series_thumbnail": "/data/series/{plan}/thumbnail",
    "frames.file_thumbnail": "/data/file/{file}/thumbnail",
    "frames.frame": "/data/file/{file}/frame/1",
    "jobs.report": "/jobs/{failed}/report.jsonl",
    "jobs.progress": "/jobs/{failed}/progress",
    "static": "/static/style.css",
}
"""Routes that answer something else than a page."""

TURN, UNSEEN = "\u202e", "\u200b"
"""What turns the text after it, and what nobody sees."""
ATTACK = "\"'><img src=x onerror=__pwned=1><pwned a={{7*7}}>"
"""As long as a label may be. Where it becomes part of a page there is an element `pwned`, and a script that has run."""
LONG = f"{ATTACK}<script>__pwned=1</script>{TURN}turned{UNSEEN}".ljust(500, "W")
FORMULA = f"=HYPERLINK(1)\"'><pwned>{TURN}"
WIDE = "W" * 63
"""A label without a place where a line could be broken."""
TITLE = "\"'><pwned a=1>"
NAME = f'{ATTACK};x=\\"\r\nSet-Cookie: pwned=1{TURN}\u00fcmlaut\u65e5{WIDE * 2}.txt'
"""Of a file; what the REST interface would refuse is in it too."""


@dataclass
class Served:
    """The site, and where its pages are."""

    app: Flask
    url: str = ""
    names: dict[str, object] = field(default_factory=dict)

    def at(self, address: str) -> str:
        return address.format_map(self.names)


class _Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: object) -> None:
        pass


@contextmanager
def serve(folder: Path) -> Iterator[Served]:
    """A migrated site with an admin, which answers a browser as long as the block lasts."""
    chosen = settings.load(folder, {"PORTAL_CHEAP_PASSWORDS": "1", "PORTAL_MIN_FREE": "1"})
    runtime.start(chosen)
    migrations.apply(chosen.run / "migrate.lock")
    with models.connection():
        users.add(EMAIL, PASSWORD, True, actor=operator())
        served = Served(create_app(chosen))
        server = make_server("127.0.0.1", 0, served.app, threaded=True, request_handler=_Quiet)
        served.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
            runtime.archive().close()


def rules(app: Flask, method: str) -> set[str]:
    """The routes that take a method, but for those of the REST interface."""
    ours = (rule for rule in app.url_map.iter_rules() if not rule.rule.startswith("/api"))
    return {rule.endpoint for rule in ours if method in (rule.methods or ())}


def the_admin() -> Actor:
    return users.actor(next(user for user in users.every() if user.email == EMAIL), "127.0.0.1")


def live_in(served: Served) -> None:
    """Fill the site with what has come from outside and gone wrong."""
    actor = the_admin()
    site_settings.put({"site.name": ATTACK, "dimse.enabled": True}, actor=actor)
    served.names["attack"] = quote(ATTACK)
    for part in (_people, _data, _machines, _work):
        served.names.update(part(actor))


def _people(actor: Actor) -> dict[str, object]:
    reader, _ = users.add("\"'><pwned>@site.example", PASSWORD, actor=actor)
    gone, _ = users.add(f"{WIDE}@site.example", PASSWORD, actor=actor)
    users.disable(gone.id, actor=actor)
    grants.give(reader.id, "*", "rw", actor=actor)
    return {"user": reader.id}


def _without_most_private(ds: Dataset, element: DataElement) -> None:
    """130 private elements less: their rows look like the others', and axe takes long for each."""
    if element.tag.group in (0x0019, 0x0027, 0x0043):
        del ds[element.tag]


def _data(actor: Actor) -> dict[str, object]:
    project = a_project(ATTACK, actor=actor)
    empty = a_project(WIDE, actor=actor)
    told = ("PatientName", "StudyDescription", "SeriesDescription", "ReferringPhysicianName", "ImageComments")
    with config.disable_value_validation():
        ds = an_object(**dict.fromkeys(told, LONG), PatientID=ATTACK, AccessionNumber=FORMULA)
        ds.SpecificCharacterSet = "ISO_IR 192"
        ds.walk(_without_most_private)
        file_id = store(ds, project).file_id
        ds.PatientID = "other"
        store(ds, project)
        ds.ImageComments = "again"
        store(ds, project)
    plan = store_vendor_file("rtplan.dcm", project).file_id
    opened = conflicts.every()
    conflicts.resolve(opened[-1].id, "keep", actor=actor)
    file = File.get_by_id(file_id)
    series = Series.get(Series.acquisition == file.parent_id)
    session = Session.get()
    plain = add_file(project, NAME, b"<pwned>", actor)
    thrown = add_file(project, f"{FORMULA}.txt", b"away", actor)
    trash.throw("file", thrown, actor=actor)
    odd = runtime.archive().append([b"odd"], {"name": NAME, "project": ATTACK})
    with writing():
        SegmentProblem.create(segment=odd.segment, kind="gone", message=LONG)
        record = QuarantinedRecord.create(**vars(odd), name=NAME, project=ATTACK, message=LONG)
    return {
        "record": record.id,
        "project": project.id,
        "empty": empty.id,
        "subject": Subject.get().id,
        "session": session.id,
        "acquisition": file.parent_id,
        "file": file_id,
        "plain": plain,
        "series": series.id,
        "plan": Series.get(Series.acquisition == File.get_by_id(plan).parent_id).id,
        "conflict": opened[0].id,
        "decided": opened[-1].id,
    }


def _machines(actor: Actor) -> dict[str, object]:
    device, silent = devices.add(ATTACK, actor=actor), devices.add(f"={WIDE}", "connector", actor=actor)
    issued = api_keys.issue(device, name=ATTACK, actor=actor)
    caller = api_keys.authenticate(issued.secret, address="192.0.2.1", program=LONG)
    devices.seen({"errors": [LONG[:200], ATTACK], "version": ATTACK[:20]}, actor=caller)
    Device.update(interval=60, last_seen=now() - timedelta(days=2)).where(Device.id == silent.id).execute()
    api_keys.issue(silent, name="soon", expires=now() + timedelta(days=3), actor=actor)
    peer = peers.register(ATTACK, ae_title=TITLE, host="192.0.2.1", port=104, actor=actor)
    peers.note(peer.id, ok=False, sentence=LONG)
    stopped = peers.register(f"@{WIDE}", ae_title="-2+3", addresses=("192.0.2.1",), actor=actor)
    peers.disable(stopped.label, actor=actor)
    for calling in (TITLE, "=1+1", "IGNORED"):
        refused_callers.refused(calling=calling, called=TITLE, address="192.0.2.1", reason="unknown", sentence=LONG)
    refused_callers.ignore(refused_callers.every()[0].id, actor=actor)
    opened = associations.open(
        peer_id=peer.id, role="acceptor", calling=TITLE, called="+1", address="192.0.2.1", contexts=[]
    )
    done = associations.Progress(association_id=opened, counts={ATTACK: {"done": 1, "failed": 1}}, size=1)
    associations.close(done, outcome="failed", sentence=LONG)
    storage = storages.add(ATTACK, "fs", path=str(runtime.current().storage_roots[0] / "x"), actor=actor)
    storages.add(f"+{WIDE}", "fs", path=str(runtime.current().storage_roots[0] / "y"), mode="import", actor=actor)
    storages.note(storage.id, state="failed", sentence=LONG)
    fields = {"bucket": "W" * 200, "endpoint": f"https://{'w' * 60}.example", "access_key": TITLE.replace(" ", "")}
    bucket = storages.add(f"={WIDE}", "s3", secret={"secret_key": "sealed"}, prefix=WIDE, actor=actor, **fields)
    numbers = {"device": device.id, "silent": silent.id, "peer": peer.id, "stopped": stopped.id}
    return {**numbers, "storage": storage.id, "bucket": bucket.id, "key": issued.key_id}


def find_away(job: Job, sentence: str) -> None:
    """A run of a job that finds its storage away."""

    def work(_run: Run) -> End:
        raise Away(sentence)

    runs.perform(job.id, work)


def _work(actor: Actor) -> dict[str, object]:
    with writing():
        waiting, failed = (
            jobs.create(
                "export",
                actor=actor,
                params={"path": LONG, "to": ATTACK, "only": f"session {LONG}"},
                what=what,
                total=2,
            )
            for what in (FORMULA, LONG)
        )
        for number, state in enumerate(("failed", "verified")):
            JobItem.create(job=failed, key=f"{FORMULA}/{number}/{LONG}", state=state, sentence=LONG, size=1)
    find_away(waiting, LONG)
    with writing():
        tried = jobs.create("dry_run", actor=actor, params={"path": LONG, "to": ATTACK}, what=LONG, total=2)
        for state in ("pending", "unmatched", "collides", "other"):
            JobItem.create(job=tried, key=f"{FORMULA}/{LONG}", state=state, sentence=LONG, size=1)
    found = {"pending": [1, 1], "unmatched": [1, 1], "collides": [1, 1], "other": [1, 1]}
    jobs.finish(tried, "done", LONG, found=found, patients=1)
    places = {"project": Project.get().id, "storage": storages.get(ATTACK).id}
    of = {
        **places,
        "of": ATTACK,
        "path": LONG,
        "prefix": LONG,
        "by": "path",
        "template": LONG,
        "include": [LONG],
        "exclude": [],
    }
    with writing():
        brought, looked = (
            jobs.create(kind, actor=actor, params=of, what=LONG, total=3) for kind in ("import", "import_dry_run")
        )
        for job, states in ((brought, ("stored", "conflict", "failed")), (looked, ("new", "version", "failed"))):
            for state in states:
                JobItem.create(job=job, key=f"{FORMULA}/{LONG}", state=state, sentence=LONG, size=1)
    jobs.advance(looked, done=2, failed=1)
    jobs.finish(looked, "done", LONG, found={"new": [1, 1], "version": [1, 1], "failed": [1, 1]})
    jobs.finish(brought, "errors", LONG)
    jobs.advance(failed, done=1, failed=1)
    jobs.finish(failed, "errors", LONG, steps=[{"name": ATTACK, "state": "bad", "sentence": LONG, "ms": 1}])
    with writing():
        sent = jobs.create("send", actor=actor, params={"path": LONG, "to": ATTACK, "peer": 1, "schedule": 1}, total=3)
        for state in ("stored", "warned", "failed"):
            JobItem.create(job=sent, key=f"{FORMULA}/{state}/{LONG}", state=state, sentence=LONG, size=1)
        params = {**places, "path": LONG, "to": ATTACK, "only": f"session {LONG}", "rules": ""}
        said = {"label": ATTACK, "confirmed_by": FORMULA, "sentence": LONG, "params": params}
        schedule = Schedule.create(cron="0 2 * * *", state="stopped", **said)
        Schedule.create(cron="0 2 * * *", due=now(), **{**said, "label": WIDE})
        ScheduleRun.create(schedule=schedule, due=now() - timedelta(days=1), job=failed)
        ScheduleRun.create(schedule=schedule, due=now(), sentence=LONG)
    return {
        "waiting": waiting.id,
        "failed": failed.id,
        "tried": tried.id,
        "sent": sent.id,
        "looked": looked.id,
        "schedule": schedule.id,
    }
