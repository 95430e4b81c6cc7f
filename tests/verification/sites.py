"""Verifications of a test's site, and edits of its database file as somebody with access to the server makes them."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest

from portal import models, settings, site_key
from portal import runtime as site_runtime
from portal.access import audit, audit_anchors
from portal.access.actors import Actor
from portal.jobs import jobs, runs
from portal.models import Job, JobItem, Project, writing
from portal.storage import storages
from portal.verification import verification
from tests.fixtures.archive import a_project

Edit = Callable[..., None]


@dataclass(frozen=True)
class Verified:
    """The end of a verification."""

    job: Job

    @property
    def found(self) -> list[tuple[str, str, str]]:
        """Area, subject and message of each finding."""
        rows = JobItem.select().where(JobItem.job == self.job).order_by(JobItem.id)
        return [(row.state, row.key, row.message) for row in rows]

    @property
    def subjects(self) -> list[tuple[str, str]]:
        return [(area, subject) for area, subject, _message in self.found]


Verify = Callable[[], Verified]


def verify_here(actor: Actor, **options: Any) -> Verified:
    """Verify the site of this process, without a worker."""
    job = verification.start(actor=actor, enqueue=False, **options)
    runs.perform(job.id, run)
    return Verified(jobs.get(job.id))


def run(this: runs.Run) -> runs.RunEnd:
    """As the worker runs it."""
    return verification.run(this, open_storage=lambda job: storages.open(storages.by_id(job.storage)))


@pytest.fixture
def verify(site: settings.Settings, admin: Actor) -> Verify:
    site_key.record_fingerprint(site_runtime.secrets())
    return lambda: verify_here(admin)


@pytest.fixture
def project(site: settings.Settings, admin: Actor) -> Project:
    return a_project(actor=admin)


@pytest.fixture
def database(site: settings.Settings) -> Edit:
    """Runs statements on the database file, past the triggers of the audit log and the foreign keys."""
    return lambda *statements: edit(site, *statements)


def edit(site: settings.Settings, *statements: str) -> None:
    models.database.close()
    with closing(sqlite3.connect(site.database)) as file, file:
        triggers = file.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _sql in triggers:
            file.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            assert file.execute(statement).rowcount, statement
        for _name, sql in triggers:
            file.execute(sql)
    models.database.connect()


def write_entries(actor: Actor, number: int) -> None:
    """Some entries of the audit log."""
    for _ in range(number):
        with writing():
            audit.record(actor, "setting:changed", "site", "", before={}, after={})


def anchor() -> audit_anchors.Anchor:
    return audit_anchors.add("interval")
