"""Routing rules: into which project they send an object that comes by C-STORE (docs/decisions/0134)."""

import io
import time
from dataclasses import dataclass
from typing import Any

import re2
from pydicom.filereader import read_dataset

from portal import runtime
from portal.access.rights import Scope
from portal.dicom.header import Header
from portal.models import Group, Project, RoutingRule, row_functions

CACHE_SECONDS = 1.0
"""For how long a process goes on with the rules that it has read: none is read for each object."""
MAX_RULES = 200
MAX_TEXT = 256
"""Characters of a value that are compared: a header says what it likes."""


@dataclass(frozen=True, kw_only=True)
class Sender:
    """Who sends by C-STORE: the number of its peer, and the AE title that it called."""

    peer_id: int | None
    called: str


@dataclass(frozen=True, kw_only=True)
class Match:
    """The first rule that holds, and the project that it names."""

    rule_id: int
    project_id: int


_recent: list[tuple[Any, float, list[RoutingRule], dict[str, int]]] = []
"""The site, until when its rules may be used, the enabled rules in order, and its projects by path where a rule has a
tag."""


def project_for(sender: Sender, header: Header, scope: Scope) -> int | None:
    """The project of the first enabled rule that holds and whose project the sender may store to; None without one."""
    found = first_match(sender, header, scope)
    return None if found is None else found.project_id


def first_match(sender: Sender, header: Header, scope: Scope) -> Match | None:
    """The same, with the rule. A rule whose project is out of scope, or does not exist, is passed over."""
    rules, paths = _rules()
    said = {
        "modality": header.modality,
        "description": header.study_description,
        "body_part": header.body_part,
        "patient_id": header.patient_id,
    }
    for rule in rules:
        if rule.peer_id not in (None, sender.peer_id) or rule.called not in ("", sender.called):
            continue
        if not all(fits(text, getattr(rule, name)) for name, text in said.items()):
            continue
        target = rule.project_id if not rule.tag else paths.get(_value(header, int(rule.tag, 16)))
        if target is not None and scope.writes(target):
            return Match(rule_id=rule.id, project_id=target)
    return None


def forget() -> None:
    """Read the rules anew at the next object of this process; others follow within a second."""
    _recent.clear()


def fits(text: str, pattern: str) -> bool:
    """Whether a text as a whole fits a pattern with the wild cards `*` and `?`, in any case; an empty one fits all.

    In time linear in the text, whatever the pattern: re2 does not go back.
    """
    if not pattern:
        return True
    signs = {"*": ".*", "?": "."}
    expression = "(?s)^" + "".join(signs.get(sign) or re2.escape(sign) for sign in pattern.casefold()) + "$"
    return row_functions.matches(text[:MAX_TEXT].strip().casefold(), expression)


def _rules() -> tuple[list[RoutingRule], dict[str, int]]:
    for here, until, rules, paths in _recent:
        if here is runtime.current() and time.monotonic() < until:
            return rules, paths
    query = RoutingRule.select().where(RoutingRule.enabled).order_by(RoutingRule.position, RoutingRule.id)
    rules, paths = list(query.limit(MAX_RULES)), {}
    if any(rule.tag for rule in rules):
        named: Any = Project.select(Group.code, Project.label, Project.id).join(Group).tuples()
        paths = {f"{code}/{label}": number for code, label, number in named}
    _recent[:] = [(runtime.current(), time.monotonic() + CACHE_SECONDS, rules, paths)]
    return rules, paths


def _value(header: Header, tag: int) -> str:
    """The text of an element of the stored header; empty where it has none, several, or one that cannot be read."""
    try:
        kept = read_dataset(io.BytesIO(header.kept or b""), is_implicit_VR=False, is_little_endian=True)
        return str(kept[tag].value).strip() if tag in kept else ""
    except Exception:  # noqa: BLE001 (pydicom raises anything for bytes from outside; the object is stored anyway)
        return ""
