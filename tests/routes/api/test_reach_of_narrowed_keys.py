"""A narrowed key reads and changes nothing outside its group or project, whatever it asks for."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from portal.access.actors import Actor, operator
from portal.devices import api_keys, devices
from portal.models import (
    Acquisition,
    ApiKey,
    Device,
    File,
    Grant,
    Group,
    Project,
    Session,
    Setting,
    Subject,
    Table,
    User,
)
from portal.settings import Settings
from portal.tree import containers, projects, rest_ids
from portal.users import grants, users
from tests.fixtures.applications import application
from tests.fixtures.work import add_file

WHOLE: tuple[type[Table], ...] = (Group, Grant, User, Setting)
"""Tables of which a narrowed key changes no row at all."""
PLACES = ("inner", "inner/Part")


@dataclass(frozen=True)
class Branch:
    """A project with one of everything in it; the REST ids by noun."""

    project: Project
    ids: dict[str, str]
    rows: dict[type[Table], int]
    names: tuple[str, ...]
    """The labels of all, and the content of the file."""


@dataclass(frozen=True)
class Site:
    client: FlaskClient
    rules: tuple[tuple[str, str], ...]
    inside: Branch
    sibling: Branch
    """In the same group: inside a key of the group, outside one of the project."""
    outside: Branch
    device: Device
    user: User


def branch(path: str, word: str, actor: Actor) -> Branch:
    group, _, label = path.partition("/")
    if Group.select().where(Group.code == group).exists():
        project = projects.add(path, actor=actor)
    else:
        project = projects.add_in_new_group(group, label, actor=actor)
    subject = containers.add_subject(project.id, f"{word}-subject", actor=actor)
    session = containers.add_session(subject.id, f"{word}-session", actor=actor)
    acquisition = containers.add_acquisition(session.id, f"{word}-acquisition", actor=actor)
    file = add_file(project, f"{word}-file.txt", f"{word} content".encode(), actor)
    rows: dict[type[Table], int] = {
        Project: project.id,
        Subject: subject.id,
        Session: session.id,
        Acquisition: acquisition.id,
        File: file,
    }
    ids = {noun.__name__.lower(): rest_ids.encode(noun.__name__.lower(), row) for noun, row in rows.items()}
    labels = (f"{word}-{noun}" for noun in ("subject", "session", "acquisition", "file.txt"))
    return Branch(project, ids, rows, (label, *labels, f"{word} content"))


@pytest.fixture
def narrow_site(site: Settings) -> Site:
    app: Flask = application(site)
    actor = operator()
    device = devices.add("importer", actor=actor)
    inside, sibling = branch("inner/Part", "inside", actor), branch("inner/Beside", "beside", actor)
    outside = branch("outer/Foreign", "foreign", actor)
    user, _password = users.add("ada@site.example", "correct horse battery", False, actor=actor)
    rules = tuple(
        (method, re.sub(r"<[^>]+>", "{}", rule.rule))
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/api/")
        for method in sorted(rule.methods or ())
        if method not in ("HEAD", "OPTIONS")
    )
    return Site(app.test_client(), rules, inside, sibling, outside, device, user)


def issue(site: Site, only: str, *, of_user: bool, role: str, read_only: bool) -> str:
    """A narrowed key of the device or of the user, who has this role everywhere."""
    ApiKey.delete().execute()
    Grant.delete().execute()
    User.update(is_admin=role == "site admin").execute()
    if role != "site admin":
        grants.add(site.user.id, "*", role, actor=operator())
    if not of_user:
        return api_keys.issue(site.device, name="k", only=only, read_only=read_only, actor=operator()).secret
    person = users.actor(users.get(site.user.id), "127.0.0.1")
    return api_keys.issue(site.user, name="k", only=only, read_only=read_only, actor=person).secret


def foreign(site: Site, only: str) -> tuple[Branch, ...]:
    return (site.outside,) if only == "inner" else (site.outside, site.sibling)


def state_of(site: Site, only: str) -> dict[str, Any]:
    """All rows that the key must not change."""
    beyond = foreign(site, only)
    found: dict[str, Any] = {table.__name__: list(table.select().order_by(table.id).tuples()) for table in WHOLE}
    for table in (Project, Subject, Session, Acquisition, File):
        rows = table.select().where(table.id.in_([one.rows[table] for one in beyond]))
        found[table.__name__] = list(rows.order_by(table.id).tuples())
    inside = {site.inside.project.id, *(() if only != "inner" else (site.sibling.project.id,))}
    found["projects beyond"] = Project.select().where(Project.group != site.inside.project.group_id).count()
    found["subjects beyond"] = Subject.select().where(Subject.project.not_in(inside)).count()
    found["files beyond"] = File.select().where(File.parent_type == "project", File.parent_id.not_in(inside)).count()
    found["devices"] = list(Device.select(Device.id, Device.label, Device.disabled, Device.sponsor).tuples())
    found["keys"] = list(ApiKey.select(ApiKey.id, ApiKey.key_id, ApiKey.revoked, ApiKey.expires).tuples())
    return found


@st.composite
def calls(draw: st.DrawFn) -> Sequence[tuple[int, list[int], int]]:
    """For each call: the number of its address, of what stands in the address, and of its body."""
    one = st.tuples(
        st.integers(0, 10_000), st.lists(st.integers(0, 10_000), min_size=4, max_size=4), st.integers(0, 10_000)
    )
    return draw(st.lists(one, min_size=12, max_size=12))


def words_of(site: Site) -> list[str]:
    """What may stand in an address."""
    ids = [*site.outside.ids.values(), *site.inside.ids.values(), *site.sibling.ids.values()]
    names = ["foreign-file.txt", "inside-file.txt", "outer", "inner", "1", "self"]
    return [*ids, *site.outside.ids.values(), *names, rest_ids.encode("device", site.device.id)]


def body_of(site: Site, number: int) -> dict[str, Any]:
    """What a request sends: mostly with an id from outside where a parent belongs."""
    ids = (site.outside, site.inside, site.sibling)[number % 3].ids
    group = ("outer", "inner")[number % 2]
    tree = {"group": {"_id": group}, "project": {"label": "Part"}, "subject": {"label": "s"}, "session": {"label": "s"}}
    bodies: tuple[dict[str, Any], ...] = (
        {"json": {}},
        {"json": {"label": "new", "group": group}},
        {"json": {"label": "new", "project": ids["project"], "subject": ids["subject"], "session": ids["session"]}},
        {"json": {"label": "new", "project": ids["project"], "subject": {"_id": ids["subject"]}}},
        {"json": {"label": "new", "disabled": True, "info": {"a": 1}, "tags": ["t"], "sponsor": "ada@site.example"}},
        {"json": {"path": [group]}},
        {"json": {"path": [group, f"<id:{ids['project']}>"]}},
        {"json": {"nodes": [{"level": noun, "_id": value} for noun, value in ids.items()]}},
        {"json": {"set": {"a": 1}, "replace": {}}},
        {"json": ["new"]},
        {"data": {"file": (BytesIO(b"new"), "new.txt")}},
        {
            "data": {
                "metadata": json.dumps({**tree, "acquisition": {"label": "a", "files": [{"name": "new.txt"}]}}),
                "file": (BytesIO(b"new"), "new.txt"),
            }
        },
    )
    return bodies[number % len(bodies)]


@settings(
    max_examples=20,
    deadline=None,
    database=None,
    phases=(Phase.generate,),  # a failure names its call; making it shorter takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    only=st.sampled_from(PLACES),
    of_user=st.booleans(),
    role=st.sampled_from(("rw", "admin", "site admin")),
    read_only=st.booleans(),
    asked=calls(),
)
def test_a_narrowed_key_reaches_nothing_outside(
    narrow_site: Site, only: str, of_user: bool, role: str, read_only: bool, asked: Sequence[Any]
) -> None:
    secret = issue(narrow_site, only, of_user=of_user, role=role, read_only=read_only)
    before, words = state_of(narrow_site, only), words_of(narrow_site)
    hidden = {value for one in foreign(narrow_site, only) for value in (*one.ids.values(), *one.names)}
    for rule, values, body in asked:
        method, path = narrow_site.rules[rule % len(narrow_site.rules)]
        address = path.format(*(words[value % len(words)] for value in values))
        sent = {} if method == "GET" else body_of(narrow_site, body)
        answer = narrow_site.client.open(
            address, method=method, headers={"Authorization": f"Bearer {secret}"}, buffered=True, **sent
        )
        told = f"{address} {sent}"
        what = f"{method} {told}: {answer.status_code} {answer.data[:300]!r}"
        assert answer.status_code < 500, what
        text = answer.get_data(as_text=True)
        assert not [value for value in hidden if value in text and value not in told], what
        assert state_of(narrow_site, only) == before, what
