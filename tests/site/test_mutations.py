"""What comes in by any door, changed at its structure in thousands of ways: an answer each, and the site goes on."""

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from portal import runtime
from portal.access.actors import operator
from portal.devices import api_keys, devices
from portal.maintenance import recovery, reindex
from portal.models import File, Instance, Project, database
from portal.tree import containers, rest_ids
from tests.fixtures.applications import application
from tests.fixtures.dimse import Listener, Sender, register
from tests.fixtures.hostile import mutations
from tests.fixtures.hostile import objects as hostile
from tests.fixtures.hostile.mutations import Mutation
from tests.fixtures.web import visitor_of

BATCH = 100
"""Objects that are sent over one association, which has at most 128 presentation contexts."""
HEAD = '--limit\r\nContent-Disposition: form-data; name="file"; filename="{}"\r\n\r\n'
TAIL = b"\r\n--limit--\r\n"
TAKEN, NOT_DICOM = 0x0000, 0xA900
PAGES_EACH = 5
"""Of so many files that are there the header page of one is looked at."""


class Site:
    """A site that runs: its listener, its REST interface, and somebody who looks at its pages."""

    def __init__(self, listener: Listener, *, seed: int) -> None:
        register()
        self.seed = seed
        app = application(listener.settings)
        self._port, self._client = listener.port, app.test_client()
        device = devices.add("importer-east", "importer", actor=operator())
        self._key = api_keys.issue(device, name="test", actor=operator()).secret
        self._visitor = visitor_of(app, is_admin=True)
        assert self._visitor.sign_in().status_code == 303
        self._acquisition = self._new_acquisition()
        self.answers: Counter[str] = Counter()
        self.acknowledged: set[str] = set()
        """SOP Instance UIDs of objects that were stored."""
        self._pages = 0

    def take(self, batch: list[tuple[int, Mutation]]) -> None:
        """Half by C-STORE, half by REST."""
        self._store([each for each in batch if each[0] % 2])
        for number, mutation in batch:
            if not number % 2:
                self._upload(f"{number} {mutation.original.name}", mutation.content)

    def take_as_they_are(self, paths: list[Path]) -> None:
        """By REST; each header is looked at."""
        for path in paths:
            self._upload(path.name, path.read_bytes())
        self.look(each=1)

    def look(self, *, each: int = PAGES_EACH) -> None:
        """At header pages of files that have come since the last time."""
        for (file_id,) in File.select(File.id).where(File.id > self._pages).order_by(File.id).tuples():
            self._pages = file_id
            if file_id % each == 0:
                status = self._visitor.get(f"/data/file/{file_id}/header").status_code
                self.answers[f"page {status}"] += 1

    def _store(self, batch: list[tuple[int, Mutation]]) -> None:
        pairs = {(each.original.header.sop_class, each.original.header.transfer_syntax) for _, each in batch}
        sender = Sender(self._port)
        with sender.open(pairs) as assoc:
            for number, each in batch:
                parsed = each.original.header
                uids = {"sop_class": parsed.sop_class, "sop_instance": each.sop_instance_uid}
                status = sender.send(assoc, each.data_set, **uids, syntax=parsed.transfer_syntax).status
                assert status in (TAKEN, NOT_DICOM), f"{self.seed}, {number}, {each.original.name}: {status:04X}"
                self.answers[f"C-STORE {status:04X}"] += 1
                if status == TAKEN:
                    self.acknowledged.add(each.sop_instance_uid)

    def _upload(self, name: str, content: bytes) -> None:
        answer = self._client.post(
            f"/api/acquisitions/{self._acquisition}/files",
            data=HEAD.format(name).encode() + content + TAIL,
            content_type="multipart/form-data; boundary=limit",
            headers={"Authorization": f"Bearer {self._key}"},
        )
        assert answer.status_code < 500, f"{self.seed}, {name}: {answer.text}"
        self.answers[f"REST {answer.status_code}"] += 1

    def _new_acquisition(self) -> str:
        project = Project.get(Project.label == "TRIAL1")
        subject = containers.add_subject(project.id, "sub-01", actor=operator())
        session = containers.add_session(subject.id, "ses-1", actor=operator())
        return rest_ids.encode("acquisition", containers.add_acquisition(session.id, "acq", actor=operator()).id)


def objects() -> set[tuple[str, str, str]]:
    """Each object of the index, however it is seen."""
    return set(Instance.select(Instance.sop_uid, Instance.transfer_syntax, Instance.dataset_digest).tuples())


def run(site: Site, count: int) -> None:
    site.take_as_they_are(hostile.vendor_files())
    originals = mutations.originals()
    for begin in range(0, count, BATCH):
        numbers = range(begin, min(begin + BATCH, count))
        site.take([(n, mutations.mutate(originals[n % len(originals)], n, site.seed)) for n in numbers])
        site.look()


def everything_comes_back(site: Site, listener: Listener, make_site: Callable[[Path], Any]) -> None:
    """After a restart nothing is missing; an empty database gets all of it from the archive, twice over."""
    listener.stop()
    assert {name.split(" ")[1] for name in site.answers if name.startswith("page")} <= {"200", "422"}
    assert recovery.recover() == 0
    before = objects()
    assert site.acknowledged <= {uid for uid, _, _ in before}
    runtime.archive().close()
    make_site(runtime.archive().root)
    database.execute_sql("PRAGMA synchronous = OFF")  # nobody is told that what comes back is durable
    recovery.recover()
    assert objects() == before
    Instance.delete().execute()
    reindex.run()
    assert objects() == before


@pytest.mark.timeout(300)
def test_no_mutated_object_does_harm_by_any_door(listener: Listener, make_site: Callable[[Path], Any]) -> None:
    site = Site(listener, seed=11)
    run(site, 2000)
    everything_comes_back(site, listener, make_site)
    assert min(site.answers[answer] for answer in ("C-STORE 0000", "C-STORE A900", "REST 200", "page 200")) > 50


@pytest.mark.prove
@pytest.mark.first
@pytest.mark.timeout(3 * 3600)
@pytest.mark.parametrize("quarter", range(1, 5))
def test_none_of_100_000_mutated_objects_does_harm_by_any_door(
    quarter: int,
    listener: Listener,
    make_site: Callable[[Path], Any],
    record_property: Callable[[str, object], None],
) -> None:
    """25,000 in each quarter, on a site of its own and from a seed of its own, so that two cores share them."""
    site = Site(listener, seed=4 * random.randrange(1_000_000) + quarter)
    record_property("seed", site.seed)
    run(site, 25_000)
    record_property("answers", ", ".join(f"{answer}: {count:,}" for answer, count in sorted(site.answers.items())))
    everything_comes_back(site, listener, make_site)
