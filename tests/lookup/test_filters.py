"""Filters of lists, as conditions that the database evaluates."""

from datetime import UTC, datetime

import pytest

from portal.access import rights
from portal.access.actors import operator
from portal.errors import BadValue
from portal.listing import PageRequest
from portal.lookup import filters
from portal.models import Acquisition, Project, Session, Subject
from portal.tree import containers, groups, projects, rest_ids

INFO = (
    {"age": 30, "site": "A", "deep": {"x": [1], "y": "AB12"}, "ok": True},
    {"age": 4, "site": "B", "deep": {"y": None}, "ok": False},
    {"age": "30", "site": 'with "quotes", and a comma'},
)


@pytest.fixture
def project(site: object) -> Project:
    groups.add("lab", actor=operator())
    project = projects.add("lab/CT", actor=operator())
    for number, info in enumerate(INFO):
        subject = Subject.create(project=project, label=f"sub-{number}", tags=["old", "a,b"][: number + 1], info=info)
        moment = datetime(2026, 1, 1 + number, 12, tzinfo=UTC)
        session = Session.create(
            subject=subject, label="ÄB" if number else "AB", uid=f"1.{number}", timestamp=moment, info=info
        )
        Acquisition.create(session=session, label="T1", timestamp=None)
    return project


def found(kind: str, text: str) -> list[int]:
    page = PageRequest(where=filters.compile(kind, text))
    return [row.id for row in containers.list_all(kind, rights.scope(operator()), page).rows]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("", [1, 2, 3]),
        ("label=AB", [1]),
        ("label!=AB", [2, 3]),
        ("label=~B$", [1, 2, 3]),
        ("label=~^Ä", [2, 3]),
        ("label=~^(a+)+$", []),
        ('label="ÄB",uid=1.2', [3]),
        ("uid=|[1.0,1.2,9]", [1, 3]),
        ("timestamp>2026-01-01", [2, 3]),
        ("timestamp>=2026-01-01", [1, 2, 3]),
        ("timestamp=2026-01-02", [2]),
        ("timestamp!=2026-01-02", [1, 3]),
        ("timestamp<2026-01-02T12:00:00Z", [1]),
        ("timestamp<=2026-01-02T12:00:00Z", [1, 2]),
        ("created<9999-12-31", [1, 2, 3]),
        ("timestamp>9999-12-31T23:59:59.999999Z", []),
        ("label=~B,uid=~1,info.age=~0", [3]),
        ("info.age=30", [1, 3]),
        ("info.age>3", [1, 2, 3]),
        ("info.age<5", [2, 3]),
        ("age!=30", [2]),
        ("info.deep.y=AB12", [1]),
        ("info.deep.y=~^AB[0-9]+$", [1]),
        ("info.deep.y=null", [2, 3]),
        ("info.deep.y!=null", [1]),
        ("info.ok=true", [1]),
        ("info.nothing.here=1", []),
        ('info.site="with "quotes", and a comma"', [3]),
        ("info.site!=A", [2, 3]),
        ("subject.label=sub-1", [2]),
        ("subject.code=~^sub-[01]$", [1, 2]),
        ("subject.info.site=B", [2]),
        ("label == x or 1", []),
        ("parents.group=lab,created>2020-01-01", [1, 2, 3]),
        ("group=other", []),
        ("project.label=CT,group.label=lab", [1, 2, 3]),
        ("parents.project=000200000000000000000001", [1, 2, 3]),
        ("project=000200000000000000000009", []),
        ("subject._id=000300000000000000000002", [2]),
        ("_id=000400000000000000000002", [2]),
        ("_id>000400000000000000000001", [2, 3]),
        ("_id=nonsense", []),
        ("_id=000300000000000000000002", []),
        ("files.name=x", []),
        ("origin.type=system", [1, 2, 3]),
    ],
)
@pytest.mark.usefixtures("project")
def test_a_filter_finds(text: str, numbers: list[int]) -> None:
    assert found("session", text) == numbers


@pytest.mark.usefixtures("project")
def test_tags_and_codes_of_subjects() -> None:
    assert found("subject", 'tags="a,b"') == [2, 3]
    assert found("subject", "tags=old,tags!=x") == [1, 2, 3]
    assert found("subject", "tags=b") == []
    Subject.update(info={"code": "S9"}).where(Subject.id == 2).execute()
    assert found("subject", "code=S9") == [2]
    assert found("subject", "code=sub-0") == [1]
    assert found("acquisition", "timestamp=null") == [1, 2, 3]
    assert found("acquisition", f"session.subject={rest_ids.encode('subject', 1)}") == [1]
    assert found("project", "ae_title=null,label=CT") == [1]


EVERY_SIGN = [
    f"{name}{sign}{value}"
    for name, value in (
        *(("label", "x"), ("_id", "000400000000000000000099"), ("created", "2020-01-01"), ("info.age", "7")),
        *(("subject.label", "x"), ("parents.project", "000200000000000000000099"), ("group", "other")),
        *(("origin.type", "user"), ("uid", "x"), ("tags", "x"), ("files.name", "x"), ("age", "null")),
    )
    for sign in ("=", "!=", "<", "<=", ">", ">=", "=~")
]


@pytest.mark.parametrize("kind", ["project", "subject", "session", "acquisition"])
def test_no_filter_finds_what_the_scope_does_not_have(project: Project, kind: str) -> None:
    hidden = projects.add("lab/hidden", actor=operator())
    subject = Subject.create(project=hidden, label="x", info={"age": 7}, tags=["x"])
    Acquisition.create(session=Session.create(subject=subject, label="x", uid="x", tags=["x"]), label="x", uid="x")
    narrow = rights.scope(operator()).limited_to(lambda number: number == project.id)
    found_some = 0
    for text in EVERY_SIGN:
        try:
            page = PageRequest(where=filters.compile(kind, text))
        except BadValue:
            continue
        rows = containers.list_all(kind, narrow, page).rows
        assert {containers.project_of(row).id for row in rows} <= {project.id}, text
        found_some += bool(rows)
    assert found_some > 10


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "=x",
        "label",
        "colour=red",
        "label=~(",
        "label=~(?=a)",
        "label=~" + "a" * 201,
        "label=~((a{1000}){1000}){1000}",
        'info.x"y=1',
        "info..x=1",
        "info." + ".".join("x" * 11) + "=1",
        "tags>x",
        "timestamp=soon",
        "timestamp=~2026",
        "parents.acquisition=x",
        "uid=|[]",
        "uid=|[" + ",".join("1" * 101) + "]",
        pytest.param("label=" + "|[" * 1300 + "]" * 1300, id="deep"),
        "label=|[a,|[b]]",
        ",".join(["label=~x"] * 4),
        "password=x",
        ",".join(["label=x"] * 21),
        "label=" + "x" * 4000,
        "subject.subject.label=x",
        "tags=a,b",
    ],
)
@pytest.mark.usefixtures("site")
def test_a_filter_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(BadValue, match=r"\."):
        found("session", text)
