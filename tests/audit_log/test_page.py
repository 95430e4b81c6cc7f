"""The page of the audit log: sentences with links, filters that combine and stay in the address, whole files."""

import ast
import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

import pytest

from portal import models
from portal.access import audit
from portal.access.actors import Actor
from portal.audit_log import entries, filters, kinds
from portal.devices import api_keys, devices
from portal.models import Audit, Session, User, writing
from portal.peers import peers
from portal.trash import trash
from tests.fixtures.archive import a_project, an_object, store
from tests.fixtures.web import Visitor, text_of

ROOT = Path(__file__).parents[2]
ZONE = ZoneInfo("America/New_York")


def at(text: str) -> Any:
    """The clock of the audit log, in New York."""
    return patch("portal.access.audit.now", lambda: datetime.fromisoformat(text).replace(tzinfo=ZONE))


def record(actor: Actor, action: str, kind: str, number: object, **detail: Any) -> None:
    with writing():
        audit.record(actor, action, kind, number, **detail)


def events(visitor: Visitor, query: str) -> list[str]:
    """What the page says of each event, without its details."""
    page = visitor.get(f"/activity/audit?{query}")
    assert page.status_code == 200
    rows = page.text.split('<tr role="row"><td')[1:]
    sentences = [row.split('<span class="t wrap">')[1].split('<span class="d mono wrap">')[0] for row in rows]
    return [text_of(sentence).replace(" ,", ",") for sentence in sentences]


def test_each_action_that_is_recorded_has_words() -> None:
    recorded = set()
    for path in (*ROOT.glob("portal/**/*.py"), *ROOT.glob("dimse_worker/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and "record" in ast.unparse(node.func):
                texts = [one.value for arg in node.args for one in ast.walk(arg) if isinstance(one, ast.Constant)]
                recorded |= {text for text in texts if isinstance(text, str) and re.fullmatch("[a-z_]+:[a-z_]+", text)}
    assert len(recorded) > 50
    assert recorded - set(kinds.WORDS) == set()
    assert len(kinds.WORDS) == sum(len(kinds.actions_of(kind)) for kind in kinds.KINDS)
    assert kinds.words_for("peer:of_another_release") == "peer of another release: {}"


def test_events_are_sentences_with_links_and_without_a_link_to_what_is_gone(visitor: Visitor, admin: Actor) -> None:
    project = a_project(actor=admin)
    store(an_object(), project)
    session = Session.get()
    device = devices.add("CT Connector", actor=admin)
    connector = Actor(type="device", id=str(device.id), via="ptk_1", address="10.0.0.9")
    record(connector, "session:uploaded", "session", session.id, files=3)
    peers.register("CT room", ae_title="CT1", actor=admin)
    peers.remove("CT room", actor=admin)

    page = visitor.get("/activity/audit").text
    assert f'uploaded files to session <a class="wrap" href="/data/session/{session.id}">' in page
    assert f'href="/interfaces/devices/{device.id}">CT Connector</a>' in page
    assert f"device CT Connector uploaded files to session {session.label}, 3 files" in events(visitor, "")
    assert 'href="/interfaces/peers/' not in page

    trash.move_to_trash("session", session.id, actor=admin)
    assert f"moved session {session.label} to the trash" in events(visitor, "")[0]
    assert f"/data/session/{session.id}" not in visitor.get("/activity/audit").text


def test_a_label_with_markup_is_text(visitor: Visitor, admin: Actor) -> None:
    devices.add("<b>x", actor=admin)
    record(Actor(type="peer", id="9", name="<i>", via="<i>"), "x<i>:y", "<u>", "<u>", note="<s>")
    page = visitor.get("/activity/audit").text
    for text in ("<b>x", "<i>", "<u>", "<s>"):
        assert text not in page


@pytest.fixture
def week(visitor: Visitor, admin: Actor) -> dict[str, str]:
    """Ann and a device, who did things on several days."""
    ann = User.create(email="ann@site.example", password="x")
    device = devices.add("CT Connector", actor=admin)
    key = api_keys.issue(device, name="first", actor=admin)
    who = Actor(type="user", id=str(ann.id), name="ann@site.example", via="web", address="10.0.0.7")
    connector = Actor(type="device", id=str(device.id), via=key.key_id, address="10.0.0.9")
    for day, actor, action, target in (
        ("2026-11-20 23:59", who, "session:viewed", ("session", 5)),
        ("2026-11-26 00:01", who, "session:downloaded", ("session", 5)),
        ("2026-11-26 23:59", connector, "session:uploaded", ("session", 6)),
        ("2026-11-27 00:00", who, "setting:changed", ("site", "")),
        ("2026-11-27 12:00", connector, "session:fetched", ("session", 5)),
    ):
        with at(day):
            record(actor, action, *target, session=target[1] or None)
    return {"ann": str(ann.id), "device": str(device.id), "key": key.key_id}


def found(moment: str = "2026-11-27 13:00", **values: str) -> list[str]:
    """The days of the events that a filter finds, and their actions; of those that `week` recorded."""
    now = datetime.fromisoformat(moment).replace(tzinfo=ZONE)
    chosen = filters.parse(values, zone=ZONE, moment=now)
    rows = [row for row in filters.page(chosen) if row.at.year == 2026 and row.at < now]
    return [f"{row.at.astimezone(ZONE):%d %H:%M} {row.action}" for row in rows]


def test_filters_find_by_person_device_key_address_kind_target_and_day(week: dict[str, str]) -> None:
    ann = ["27 00:00 setting:changed", "26 00:01 session:downloaded", "20 23:59 session:viewed"]
    connector = ["27 12:00 session:fetched", "26 23:59 session:uploaded"]
    for text in ("ann", "ANN@site.example", f"user {week['ann']}", "10.0.0.7"):
        assert found(who=text) == ann, text
    for text in ("ct connector", f"device {week['device']}", week["key"], "10.0.0.9"):
        assert found(who=text) == connector, text
    assert found(kind="reading") == [connector[0], *ann[1:]]
    assert found(about="session 5") == [connector[0], *ann[1:]]
    assert found(about="000400000000000000000006") == [connector[1]]
    assert found(about="site", kind="settings") == [ann[0]]
    assert found(who="nobody at all") == []
    assert found(about="nothing at all") == []


def test_days_are_those_of_the_reader_and_filters_combine(week: dict[str, str]) -> None:
    assert found(day="today") == ["27 12:00 session:fetched", "27 00:00 setting:changed"]
    assert found(day="yesterday") == ["26 23:59 session:uploaded", "26 00:01 session:downloaded"]
    assert len(found(day="week")) == 4
    assert found(day="yesterday", who="ann") == ["26 00:01 session:downloaded"]
    assert found(day="yesterday", who="ann", kind="reading", about="session 5") == ["26 00:01 session:downloaded"]
    assert found(day="yesterday", who="ann", kind="data") == []
    assert found(**{"from": "2026-11-20", "to": "2026-11-20"}) == ["20 23:59 session:viewed"]
    assert found(to="2026-11-26")[0] == "26 23:59 session:uploaded"


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("kind=nonsense", 422),
        ("from=yesterday", 422),
        ("to=9999-12-31", 422),
        ("from=0001-01-01", 422),
        ("who=" + "x" * 5000, 200),
        ("about=%00session 5", 200),
        ("before=0&after=99999999999999999", 200),
        ("who=device 999999999999999999", 200),
        ("about=session 99999999999999999999", 200),
        ("day=someday&q=device 7", 200),
    ],
)
def test_odd_filters_are_refused_in_words_or_find_nothing(visitor: Visitor, query: str, status: int) -> None:
    assert visitor.get(f"/activity/audit?{query}").status_code == status


def test_pages_go_back_and_forth_without_a_gap_while_events_are_added(visitor: Visitor, admin: Actor) -> None:
    for number in range(1, 121):
        record(admin, "job:cancelled", "job", number)
    first = entries.find(filters.EVERYTHING)
    record(admin, "job:cancelled", "job", 121)
    second = entries.find(filters.EVERYTHING, before=first.older)
    third = entries.find(filters.EVERYTHING, before=second.older)
    numbers = [view.row.id for each in (first, second, third) for view in each.rows]
    assert numbers == list(range(numbers[0], 0, -1))
    assert third.older is None
    back = entries.find(filters.EVERYTHING, after=third.newer)
    assert [view.row.id for view in back.rows] == [view.row.id for view in second.rows]
    page = visitor.get(f"/activity/audit?kind=jobs&before={first.older}").text
    assert "kind=jobs" in page.split('rel="next"')[0].rsplit("href=", 1)[1]


def test_files_have_every_event_of_the_filter_however_many(
    visitor: Visitor, admin: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entries, "ENTRIES_PER_CHUNK", 7)
    with writing():
        for number in range(1, 101):
            audit.record(admin, "job:cancelled", "job", number, kind="export")
            audit.record(admin, "job:retried", "job", number)
    lines = visitor.get("/activity/audit?format=jsonl&kind=jobs&about=job+7").text.splitlines()
    assert [json.loads(line)["action"] for line in lines] == ["job:retried", "job:cancelled"]
    rows = visitor.get("/activity/audit?format=csv&kind=jobs").data.decode("utf-8-sig").splitlines()
    assert len(rows) == 201
    one = json.loads(lines[1])
    assert one["detail"] == {"kind": "export"}
    assert one["words"].endswith(" cancelled job 7")
    row = Audit.get_by_id(one["number"])
    assert (one["hash"], one["hmac"]) == (row.hash, row.hmac)


@pytest.mark.usefixtures("week")
@pytest.mark.parametrize(
    "chosen",
    [
        {"day": "today"},
        {"who": "peer 1"},
        {"who": "peer 1", "kind": "reading"},
        {"who": "ann", "kind": "data", "day": "week"},
        {"kind": "keys"},
        {"about": "session 5"},
        {"about": "session 5", "who": "peer 1"},
        {"about": "device 1", "kind": "keys", "day": "week"},
        {"who": "10.0.0.7"},
    ],
)
def test_every_filter_is_answered_by_an_index_in_the_order_of_the_numbers(chosen: dict[str, str]) -> None:
    sent: list[str] = []
    with patch.object(filters.ordered_unions, "first_numbers", lambda selects, **_rest: sent.extend(selects) or []):
        filters.page(filters.parse(chosen, zone=ZONE))
    assert sent
    for select in sent:
        query, values = select.sql()
        plan = " ".join(row[3] for row in models.database.execute_sql(f"EXPLAIN QUERY PLAN {query}", values))
        assert "INDEX audit_" in plan or "SEARCH t1 USING INTEGER PRIMARY KEY (rowid" in plan, plan
        assert not re.search("SCAN t1|INDEX audit_at", plan), plan
        assert "rowid>? AND rowid<?" in plan or "rowid=?" in plan or "about" in chosen, plan
        if "about" not in chosen:
            assert "TEMP B-TREE" not in plan


def test_who_is_no_admin_sees_no_audit_log(reader: Visitor) -> None:
    for query in ("", "?format=csv", "?format=jsonl"):
        assert reader.get(f"/activity/audit{query}").status_code in (403, 404)
