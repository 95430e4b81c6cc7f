"""Every address with every role, kind of key and none: let through is who is declared, and nothing else is seen."""

import io
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from portal.models import Audit, database
from tests.fixtures.rights.site import ELSEWHERE, HERE, MARKERS, Caller, Names, RightsSite, rights_site
from tests.fixtures.rights.table import DECLARED, EVERYBODY, KEYS, WHO

REFUSED = (401, 403, 404)
OF_THE_SITE = ("site admin", "device", "read-only")
"""Callers to whom a project is as near as another."""
CONVERTER = re.compile(r"<[a-z_]+(?:\([^)]*\))?:([a-z_]+)>")
PLACEHOLDER = re.compile(r"<([a-z_]+)>")
LEVELS = {
    "GET /data/<level>/<number>/files": "session",
    "GET /data/<level>/<number>": "acquisition",
    "GET /data/<kind>/<number>/trash": "session",
    "POST /data/<kind>/<number>/trash": "session",
}
FORMS: dict[str, Any] = {
    "POST /data/projects/<project_id>/access": {"email": "somebody@site.example", "role": "rw"},
    "POST /data/projects/<project_id>/edit": {"label": "new"},
    "POST /data/projects/<project_id>/group": {"group_label": "new"},
    "POST /exports/new": {"project": "{path}", "to": "Disk", "level": "project"},
    "POST /exports/preview": {"project": "{path}", "to": "Disk", "level": "project"},
    "POST /data/projects/new": {"group": "neuro", "label": "new"},
}
BODIES: dict[str, Any] = {
    "POST /api/groups": {"_id": "new"},
    "POST /api/projects": {"group": "{code}", "label": "new"},
    "POST /api/subjects": {"project": "{rest project}", "label": "new"},
    "POST /api/sessions": {"subject": "{rest subject}", "label": "new"},
    "POST /api/acquisitions": {"session": "{rest session}", "label": "new"},
    "POST /api/download": {"nodes": [{"level": "project", "_id": "{rest project}"}]},
    "PUT /api/files/<file_id>": {"modality": "MR"},
    "PUT /api/files/<file_id>/tags": [],
    "PATCH /api/files/<file_id>/tags": [],
    "POST /api/lookup": {"path": ["{code}", "<id:{rest project}>"]},
    "POST /api/resolve": {"path": ["{code}", "<id:{rest project}>"]},
    "POST /api/uids": {"sessions": ["1.2.1.1", "1.2.3.1"]},
    "POST /api/dimse/projects": {"aet": "NEW", "project_id": "{rest project}"},
    "POST /api/dimse/services": {"aet": "NEW", "host": "192.0.2.9", "port": 104},
    "POST /api/projects/<container_id>/upsert-hierarchy": {"subject": {"label": "new"}},
    "PUT /api/groups/<code>": {"label": "new"},
    "POST /api/devices": {"label": "new", "type": "importer"},
    "PUT /api/devices/<device_id>": {"label": "new"},
    "POST /api/devices/<device_id>/key": {"label": "new"},
}
SAID: dict[str, Any] = {"tags": {"value": "new"}, "notes": {"text": "new"}}
"""Bodies of the addresses below those of containers, by their word."""
SEARCHES = {
    "GET /search": "?q=hid-",
    "POST /api/storage/files": "?project_id={rest project}",
    "GET /data/": "?q=hid-",
    "GET /exports/schedules/new": "?job={job_id}",
    "POST /exports/schedules/new": "?job={job_id}",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RightsSite]:
    with rights_site(tmp_path_factory.mktemp("rights") / "data") as found:
        yield found


def addresses(app: Flask) -> set[str]:
    """METHOD RULE of every address, without the converters of its placeholders."""
    return {
        CONVERTER.sub(r"<\1>", f"{method} {rule.rule}")
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
    }


def test_every_address_is_declared_with_who_may_use_it(site: RightsSite) -> None:
    known = addresses(site.app)
    assert known - set(DECLARED) == set(), "Declare each in tests/fixtures/rights/table.py."
    assert set(DECLARED) - known == set(), "These are gone."


@pytest.mark.parametrize("name", [*EVERYBODY, *KEYS])
def test_each_caller_is_let_through_where_it_is_declared_and_sees_nothing_else(site: RightsSite, name: str) -> None:
    caller, wrong = site.callers[name], []
    for declared, who in DECLARED.items():
        if (" /api/" in declared) != (name in KEYS) and who != "anyone":
            continue
        places = [HERE, ELSEWHERE] if name not in EVERYBODY[:2] and "<" in declared else [HERE]
        for place in places:
            may = may_use(name, who) and (place == HERE or who not in OF_A_PROJECT or name in OF_THE_SITE)
            for headers in (
                ({}, {"HX-Request": "true", "HX-Request-Type": "partial"}) if partial(declared, name) else ({},)
            ):
                wrong += complaints(site, caller, declared, place, may=may, headers=headers)
    assert not wrong, "\n".join(wrong)


OF_A_PROJECT = ("see", "fetch", "store", "manage", "create project", "manage group")


def may_use(name: str, who: str) -> bool:
    return name == "writer" if who == "own" else name in WHO[who]


def partial(declared: str, name: str) -> bool:
    """Whether the address is also asked for a part of its page."""
    return declared.startswith("GET /data/") and name in ("reader", "writer", "project admin")


def complaints(
    site: RightsSite, caller: Caller, declared: str, place: str, *, may: bool, headers: dict[str, str]
) -> list[str]:
    """What is wrong with one answer; whatever the request changed is taken back."""
    with database.atomic() as transaction:
        before = Audit.select().count()
        answer = ask(site, caller, declared, place, headers)
        answer_text = answer.get_data().decode(errors="replace")
        acts = Audit.select().count() - before
        transaction.rollback()
    here = f"{declared} of {place}: {answer.status_code}"
    to_sign_in = answer.headers.get("Location", "").startswith("/sign-in") or "HX-Redirect" in answer.headers
    is_refused = answer.status_code in REFUSED or to_sign_in
    found = []
    if answer.status_code >= 500:
        found.append(f"{here}, {answer_text[:300]}")
    if may and is_refused and declared not in ("POST /sign-in", "POST /sign-out"):
        found.append(f"{here}, but should be let through")
    if not may and not is_refused:
        found.append(f"{here}, but should be refused")
    if not may and acts:
        found.append(f"{here}, refused, and yet {acts} entries in the audit log")
    found += [
        f"{here}, and shows {marker}"
        for path, marker in MARKERS.items()
        if path not in caller.reads and marker in answer_text
    ]
    return found


def ask(site: RightsSite, caller: Caller, declared: str, place: str, headers: dict[str, str]) -> TestResponse:
    names = site.names[place]
    method, _, rule = declared.partition(" ")
    path = PLACEHOLDER.sub(lambda found: value_of(found[1], declared, names), rule)
    path += SEARCHES.get(declared, "").format_map(names)
    sent: dict[str, Any] = {}
    if method in ("POST", "PUT") and not rule.startswith("/api/"):
        sent["data"] = {"csrf_token": caller.token, **filled(FORMS.get(declared, {}), names)}
    elif (rule.endswith("/files") or rule.startswith("/api/upload/")) and method == "POST":
        sent["data"] = {"file": (io.BytesIO(b"new"), "new.txt")}
    elif method in ("POST", "PUT", "PATCH"):
        word = rule.rpartition(">/")[2].partition("/")[0]
        usual = [] if (method, word) == ("PATCH", "tags") else SAID.get(word, {})
        if method == "PUT" and rule.endswith("/files/<name>"):
            usual = {"modality": "MR"}
        sent["json"] = filled(BODIES.get(declared, usual), names)
    client = site.app.test_client(use_cookies=False)
    everything: dict[str, str] = {**caller.headers, **headers}
    return client.open(path, method=method, headers=everything, buffered=True, **sent)


def filled(body: Any, names: Names) -> Any:
    """The body with the values of what stands in braces."""
    return json.loads(re.sub(r"\{([a-z ]+)\}", lambda found: str(names[found[1]]), json.dumps(body)))


def value_of(placeholder: str, declared: str, names: Names) -> str:
    """What stands for a placeholder; an unknown one must be given a value in `tests.fixtures.rights.site`."""
    rule = declared.partition(" ")[2]
    match placeholder:
        case "level" | "kind":
            return LEVELS[declared]
        case "number" if declared in LEVELS:
            return str(names[LEVELS[declared]])
        case "number":
            return "1"
        case "container_id" if rule.startswith("/api/containers/"):
            return str(names["rest acquisition"])
        case "file_id" if rule.startswith("/api/"):
            return str(names["rest file"])
        case "container_id":
            return str(names[f"rest {rule.split('/')[2].rstrip('s')}"])
        case "device_id" if rule.startswith("/api/"):
            return str(names["rest device"])
        case "key_id" if rule.startswith("/profile"):
            return str(names["own key"])
        case "key_id" if rule.startswith("/users"):
            return str(names["user key_id"])
        case "name" if rule.startswith("/help/pictures"):
            return "home"
        case "name" if rule.startswith("/help"):
            return "rights"
        case "noun":
            return "devices"
        case "name" if rule.startswith("/first-steps"):
            return "project"
        case "job_id" if rule.startswith("/api/"):
            return str(names["rest job"])
        case "job_id" if rule.startswith("/imports"):
            return str(names["import"])
        case "job_id" if rule.endswith("/start"):
            return str(names["dry run"])
        case "noun":
            return "files"
        case "user_id" if rule.startswith("/api"):
            return "somebody@site.example"
        case "aet" if rule.startswith("/api/dimse/services"):
            return "VIEWER"
        case "role_id" | "value" | "note_id":
            return {"role_id": "ro", "value": "tagged", "note_id": "0" * 24}[placeholder]
        case "name":
            return "notes.txt"
    return str(names[placeholder])
