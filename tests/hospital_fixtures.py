"""A hospital's site after some months, as the guide shows it and as its admin asks about it."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from unittest.mock import patch

import pytest
from archive_fixtures import an_object, store, store_vendor_file
from browser_fixtures import EMAIL, PASSWORD
from free_ports import free_port
from up_fixtures import Up, until

from portal import migrations, models, runtime, settings, site_settings
from portal.access.actors import Actor, operator
from portal.dashboard import disk_usage
from portal.devices import api_keys, devices
from portal.exports import exports, schedules, verify
from portal.exports.request import Options
from portal.imports import imports
from portal.imports.request import Wanted
from portal.jobs import jobs
from portal.jobs.progress import OVER
from portal.models import (
    ApiKey,
    Association,
    Caller,
    Device,
    DeviceHour,
    DiskDay,
    Hourly,
    Job,
    Peer,
    Project,
    Subject,
    hourly_counts,
    now,
)
from portal.peers import peers, refused_callers
from portal.storage import storages
from portal.trash import trash
from portal.tree import containers
from portal.users import grants, users

READER = "radiologist@site.example"
ACCESSION, SERIES = "ACC-2026-0417", "1.2.826.0.1.3680043.8.498.4177"
SEEN = {"CT room": timedelta(minutes=4), "Reading room 1": timedelta(days=1, hours=3), "Archive": timedelta(hours=2)}
"""When each peer called last."""


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """The site, run by `portal up`, with an export of last night and a job that has failed."""
    up = Up(tmp_path_factory.mktemp("hospital") / "data")
    chosen = settings.load(up.data, {"PORTAL_CHEAP_PASSWORDS": "1", "PORTAL_MIN_FREE": "1"})
    runtime.start(chosen)
    migrations.apply(chosen.run / "migrate.lock")
    with models.connection():
        actor = _furnish(up)
    runtime.archive().close()
    up.start()
    try:
        up.ready()
        with models.connection():
            _work(actor)
        yield up
    finally:
        up.end()


def _furnish(up: Up) -> Actor:
    owner, _ = users.add(EMAIL, PASSWORD, True, actor=operator())
    reader, _ = users.add(READER, PASSWORD, False, actor=operator())
    actor = users.actor(owner, "127.0.0.1")
    _set(up, actor)
    containers.add_group("neuro", "Neuroradiology", actor=actor)
    brain = containers.add_project("neuro/Brain", "BRAIN", actor=actor)
    containers.add_project("neuro/Spine", "SPINE", actor=actor)
    grants.give(reader.id, "neuro/Brain", "ro", actor=actor)
    _register(actor)
    _fill(brain, actor)
    _knock()
    _issue(actor)
    _busy()
    _disk()
    folder = runtime.current().storage_roots[0] / "mirror"
    folder.mkdir(parents=True)
    storages.add("mirror-b", "fs", path=str(folder), mode="both", actor=actor)
    return actor


def _fill(brain: Project, actor: Actor) -> None:
    """Nine objects, one in conflict with them, one in the trash, and two in another project."""
    series = {"SeriesInstanceUID": SERIES, "AccessionNumber": ACCESSION, "StudyInstanceUID": f"{SERIES}.1"}
    for number in range(1, 7):
        store(an_object("CT_small.dcm", SOPInstanceUID=f"{SERIES}.{number}", InstanceNumber=number, **series), brain)
    for name in ("MR_small.dcm", "rtplan.dcm", "CT_small.dcm"):
        store_vendor_file(name, brain)
    store(an_object("CT_small.dcm", PatientID="another"), brain)
    told = {"StudyInstanceUID": f"{SERIES}.2", "SeriesInstanceUID": f"{SERIES}.2.1", "PatientID": "MR-0099"}
    store(an_object("MR_small.dcm", SOPInstanceUID=f"{SERIES}.7", **told), brain)
    trash.throw("subject", Subject.get(Subject.label == "MR-0099").id, actor=actor)
    spine = containers.project("neuro/Spine")
    for number in (8, 9):
        told = {"StudyInstanceUID": f"{SERIES}.3", "SeriesInstanceUID": f"{SERIES}.3.1", "PatientID": "SP-2207"}
        store(an_object("MR_small.dcm", SOPInstanceUID=f"{SERIES}.{number}", **told), spine)


def _set(up: Up, actor: Actor) -> None:
    listening = {"dimse.enabled": True, "dimse.host": "127.0.0.1", "dimse.port": up.dimse_port}
    with _days_ago(40):
        site_settings.put({"site.name": "West Campus", **listening}, actor=actor)
    with _days_ago(3):
        site_settings.put({"dimse.echo_anyone": True}, actor=actor)


def _days_ago(days: int):  # type: ignore[no-untyped-def]
    """The audit log's clock, some days back."""
    moment = now() - timedelta(days=days)
    return patch("portal.access.audit.now", lambda: moment)


def _register(actor: Actor) -> None:
    more = {"services": ("echo", "store"), "store_to": "neuro/Brain", "addresses": ("10.0.4.7",)}
    peers.register("CT room", ae_title="CT1", projects=(("neuro/Brain", "rw"),), actor=actor, **more)
    reads = {"services": ("echo", "find", "move"), "projects": (("neuro/Brain", "ro"),), "addresses": ("127.0.0.1",)}
    peers.register("Reading room 1", ae_title="VIEWER1", host="127.0.0.1", port=free_port(), actor=actor, **reads)
    keeps = {"services": ("echo", "store", "find", "move"), "all_projects": True, "addresses": ("10.0.8.0/24",)}
    peers.register("Archive", ae_title="PACS", host="127.0.0.1", port=free_port(), actor=actor, **keeps)
    for label, away in SEEN.items():
        Peer.update(last_seen=now() - away).where(Peer.label == label).execute()


def _knock() -> None:
    for calling, address, reason, sentence in (
        ("VIEWER3", "10.0.4.17", "unknown", "VIEWER3 is not registered."),
        ("CT1", "10.0.9.9", "address", "CT1 may not call from 10.0.9.9: its list has 10.0.4.7."),
    ):
        for _ in range(4):
            refused_callers.refused(
                calling=calling, called="PORTICO", address=address, reason=reason, sentence=sentence
            )
    Caller.update(first=now() - timedelta(hours=7), last=now() - timedelta(minutes=9)).execute()


def _issue(actor: Actor) -> None:
    for label, kind, days in (("ct-connector", "connector", 9), ("trial-importer", "importer", 200)):
        device = devices.add(label, kind, actor=actor)
        api_keys.issue(device, name="first key", expires=now() + timedelta(days=days), actor=actor)
    used = {"last_used": now() - timedelta(minutes=12), "last_address": "10.0.4.30", "last_program": "connector/3.4.1"}
    ApiKey.update(**used).execute()
    seen = {"version": "3.4.1", "interval": 3600, "last_address": "10.0.4.30"}
    Device.update(last_seen=now() - timedelta(minutes=12), **seen).where(Device.label == "ct-connector").execute()
    Device.update(last_seen=now() - timedelta(hours=26), **seen).where(Device.label == "trial-importer").execute()


def _busy() -> None:
    """What called in the last day, hour by hour."""
    hour = hourly_counts.beginning(now())
    peers_of_the_day = {peer.label: peer for peer in Peer.select()}
    calls, requests, refused = [], [], []
    for back in range(23, 0, -1):
        begin = hour - timedelta(hours=back)
        by_day = 6 <= begin.hour <= 19
        for number in range(1 + back % 3 if by_day else 1):
            label = "CT room" if number else "Archive"
            calls.append(_call(peers_of_the_day[label], begin + timedelta(minutes=9 * number), failed=back == 5))
        requests.append(
            {"device": 1, "hour": begin, "requests": 37 + back % 5 if by_day else 6, "failures": 0, "bytes": 10**8}
        )
        refused.append({"kind": "refused", "hour": begin, "number": 2 if by_day else 0, "bytes": 0})
    for back in range(1, 7):
        begin = hour - timedelta(days=back)
        requests.append({"device": 1, "hour": begin, "requests": 700, "failures": back % 2, "bytes": 10**9 + back})
    Association.insert_many(calls).execute()
    DeviceHour.insert_many(requests).execute()
    Hourly.insert_many([one for one in refused if one["number"]]).execute()


def _call(peer: Peer, began: datetime, *, failed: bool) -> dict[str, object]:
    """An association of a peer; what failed is one that the peer broke off."""
    done = {"stored": 40} if peer.label == "CT room" else {}
    counts = {"store" if done else "find": {"done": 40 if done else 3, "failed": 0, **done}}
    return {
        "peer": peer,
        "role": "acceptor",
        "calling": peer.ae_title,
        "called": "PORTICO",
        "address": "10.0.4.7" if done else "10.0.8.5",
        "started": began,
        "seen": began,
        "ended": began + timedelta(seconds=48),
        "counts": counts,
        "outcome": "aborted" if failed else "released",
        "bytes": 21_000_000 if done else 0,
        "sentence": f"{peer.ae_title} broke the association off." if failed else "",
    }


def _disk() -> None:
    """Forty days in which the archive grew evenly up to what is in use today, when a worker has just looked."""
    room = disk_usage.room()
    rows = []
    for back in range(41):
        at, grown = now() - timedelta(days=back), room.used // 100 * back
        ours = {"segments": room.used // 2 - grown, "database": room.used // 50, "rest": room.used // 90}
        rows.append({"day": f"{at:%Y-%m-%d}", "at": at, "total": room.total, "free": room.free + grown, **ours})
    DiskDay.insert_many(rows).on_conflict_replace().execute()


def _work(actor: Actor) -> None:
    """An export of last night that arrived whole, is repeated and was verified, an echo to a viewer that is switched
    off, and dry runs of an export and of an import.
    """
    test = storages.request_test("mirror-b", actor=actor)
    export = exports.start("neuro/Brain", to="mirror-b", actor=actor).id
    echo = peers.request_echo("Reading room 1", actor=actor)
    until(lambda: all(jobs.get(number).state in OVER for number in (test, export, echo)))
    rule = {"include": ["modality is CT or MR"], "path": "{project}/{subject}/{date:%Y-%m-%d}/{modality}/{file}"}
    tried = exports.dry_run("neuro/Brain", to="mirror-b", actor=actor, options=Options(rules=[rule])).id
    until(lambda: jobs.get(tried).state in OVER)
    schedules.add(export, "30 1 * * *", confirmed=True, label="Brain, every night", actor=actor)
    verified = verify.start(export, actor=actor).id
    wanted = Wanted(of="mirror-b", to="neuro/Spine", prefix="Brain", by="manifest", include=("4MR1/*",))
    looked = imports.dry_run(wanted, actor=actor).id
    until(lambda: all(jobs.get(number).state in OVER for number in (verified, looked)))
    imported = imports.start_as_tried(looked, actor=actor).id
    until(lambda: jobs.get(imported).state in OVER)
    evening: datetime = now() - timedelta(hours=9)
    moments = {"created": evening, "started": evening, "ended": evening + timedelta(minutes=4)}
    tried_once = {"began": moments["started"].isoformat(), "ended": moments["ended"].isoformat()}
    done = jobs.get(export).result
    done["tries"] = [{**one, **tried_once} for one in done["tries"]]
    Job.update(**moments, result=done).where(Job.id == export).execute()
    Hourly.update(hour=hourly_counts.beginning(evening)).where(Hourly.kind == "exported").execute()
