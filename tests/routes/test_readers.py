"""Who has seen or fetched a session: named for who may write to its project, counted for who may read it."""

import ast
import csv
import io
from datetime import timedelta

import pytest
from flask import Flask

from portal import models
from portal.access import audit, readings, session_readers
from portal.access.actors import Actor
from portal.listing import ListRequest, find
from portal.models import Audit, File, Project, Session, now, writing
from portal.tree import containers
from portal.users import grants
from tests.fixtures.archive import PEER, a_project, an_object, store
from tests.fixtures.web import MOST_STATEMENTS, Visitor, account, statements, text_of, visitor_of


@pytest.fixture
def project(app: Flask, admin: Actor) -> Project:
    return a_project(actor=admin)


@pytest.fixture
def session(project: Project) -> Session:
    store(an_object(), project)
    return Session.get()


def person(app: Flask, admin: Actor, role: str) -> Visitor:
    found = visitor_of(app, is_admin=False)
    grants.add(account(found).id, "neuro/trial", role, actor=admin)
    assert found.sign_in().status_code == 303
    return found


def retrieved(session: Session, peer: Actor = PEER) -> None:
    with writing():
        detail = {"operation": "C-GET", "instances": 3, "session": session.id}
        audit.record(peer, "study:retrieved", "study", 1, **detail)


def page(visitor: Visitor, session: Session, query: str = "") -> str:
    return text_of(visitor.get(f"/data/session/{session.id}/readers{query}").text)


def test_views_downloads_retrievals_and_exports_are_listed_with_who_and_how(
    app: Flask, visitor: Visitor, session: Session, admin: Actor
) -> None:
    ann = person(app, admin, "ro")
    ann.get(f"/data/session/{session.id}")
    ann.get(f"/data/file/{File.get().id}/download")
    ann.get(f"/data/session/{session.id}/zip")
    retrieved(session)
    readings.record_disclosure(
        admin, "export:ended", "job", 12, [session.id, session.id + 1], path="neuro/trial", to="Disk"
    )

    seen = page(visitor, session)

    assert "5 events" in seen
    assert f"user {ann.email} from {ann.address} Viewed pages or images, within this hour" in seen
    assert f"user {ann.email} from {ann.address} Downloaded file 1, version 1" in seen
    assert "Downloaded the session as zip" in seen
    assert "Retrieved 3 instances by C-GET" in seen
    assert "Exported to Disk, by export 12" in seen
    assert "1 event found" in page(visitor, session, "?only=retrieved")
    assert "3 events found" in page(visitor, session, f"?q={ann.email}")
    assert f'href="/data/session/{session.id}/readers"' in visitor.get(f"/data/session/{session.id}").text


def test_who_may_only_read_is_told_how_often_and_by_how_many(app: Flask, session: Session, admin: Actor) -> None:
    writer, reader = person(app, admin, "rw"), person(app, admin, "ro")
    writer.get(f"/data/session/{session.id}")
    retrieved(session)
    for query in ("", "?format=csv", "?q=a"):
        seen = page(reader, session, query)
        assert "2 users, devices and peers" in seen
        assert writer.email not in seen
    assert "Viewed 1 Downloaded 0 Retrieved 1 Exported 0" in page(reader, session)
    assert writer.email in page(writer, session)


def test_a_session_of_another_project_is_not_there(app: Flask, reader: Visitor, session: Session) -> None:
    assert reader.get(f"/data/session/{session.id}/readers").status_code == 404


def test_all_of_them_go_into_a_file(app: Flask, visitor: Visitor, session: Session, admin: Actor) -> None:
    ann = person(app, admin, "ro")
    ann.get(f"/data/session/{session.id}")
    retrieved(session)
    answer = visitor.get(f"/data/session/{session.id}/readers?format=csv")
    heads, *rows = csv.reader(io.StringIO(answer.text.lstrip("\ufeff")))
    told = [dict(zip(heads, row, strict=True)) for row in rows]
    assert [row["Kind"] for row in told] == ["Retrieved", "Viewed"]
    assert told[1]["Actor"] == ann.email


def test_another_session_of_the_same_subject_is_not_listed(app: Flask, session: Session, admin: Actor) -> None:
    other = containers.add_session(session.subject_id, "second", actor=admin)
    readings.record_view(admin, session.id)
    assert find(session_readers.of_session(other.id), ListRequest()).total == 0
    assert session_readers.counts(other.id) == session_readers.ReadingCounts(by_way={}, actors=0)


def test_no_whole_table_is_read_however_many_events_the_site_has(
    app: Flask, visitor: Visitor, session: Session, admin: Actor
) -> None:
    rows = [
        {
            "at": now() - timedelta(minutes=number),
            "actor_type": "user",
            "actor_id": "1",
            "via": "web",
            "action": "session:viewed",
            "target_type": "session",
            "target_id": str(number),
            "session": number + 10,
            "detail": {},
            "previous": "",
            "hash": "",
        }
        for number in range(3000)
    ]
    with writing():
        Audit.insert_many(rows).execute()
    retrieved(session)
    models.database.execute_sql("ANALYZE")
    with statements() as sent:
        assert "events" in page(visitor, session, "?q=a&sort=by")
        session_readers.counts(session.id)
    assert len(sent) <= MOST_STATEMENTS + 3
    about = [found for found in map(ast.literal_eval, sent) if 'FROM "audit"' in found[0] and "CASE" in found[0]]
    assert len(about) >= 3
    for sql, values in about:
        plan = [str(row[3]) for row in models.database.execute_sql(f"EXPLAIN QUERY PLAN {sql}", values).fetchall()]
        assert not any("SCAN" in step and "audit" in step for step in plan), plan
        assert any("PRIMARY KEY" in step for step in plan), plan
