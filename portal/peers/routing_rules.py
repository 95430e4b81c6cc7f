"""Routing rules as site admins write them: added, changed, ordered, removed."""

from collections.abc import Sequence
from typing import Any

from peewee import fn
from pydicom.datadict import tag_for_keyword

from portal.access import audit, rights
from portal.access.actors import Actor
from portal.access.rights import UNKNOWN_GROUP
from portal.dicom import ae_titles
from portal.errors import BadValue, Missing
from portal.ingest import routing
from portal.models import Peer, RoutingRule, now, writing
from portal.peers import peers
from portal.tree import projects

PATTERNS = ("modality", "description", "body_part", "patient_id")
MAX_PATTERN_LENGTH = 64
FIELDS = ("peer", "called", *PATTERNS, "project", "tag", "enabled", "position")
_DEFAULTS: dict[str, Any] = {**dict.fromkeys(FIELDS), "enabled": True}
_STEP = 10
"""Between the positions of neighbours, so that one can be put between them."""


def add(*, actor: Actor, **fields: Any) -> RoutingRule:
    """Add a rule, the last in order unless `position` (from 1) says otherwise.

    `fields`: peer (its label), called (AE title), modality, description, body_part, patient_id (patterns with `*` and
    `?`), and the target: project (GROUP/PROJECT), or tag (of the element that names it: keyword or 8 hexadecimal
    digits). What is left out fits everything. Raises BadValue or Missing.
    """
    rights.require_admin(actor)
    with writing():
        if RoutingRule.select().count() >= routing.MAX_RULES:
            raise BadValue(f"There are {routing.MAX_RULES} rules already. Remove one that is not needed.")
        columns = _clean({**_DEFAULTS, **fields})
        last = RoutingRule.select(fn.MAX(RoutingRule.position)).scalar() or 0
        rule = RoutingRule.create(position=last + _STEP, **columns, **actor.origin.fields)
        if fields.get("position") is not None:
            _put(rule, fields["position"])
        audit.record(actor, "rule:added", "rule", rule.id, after=view(rule))
    routing.forget()
    return rule


def change(rule_id: int, *, actor: Actor, **fields: Any) -> RoutingRule:
    """Change the fields that are named, as in `add`, and `enabled`; an empty one fits everything again.

    Raises Missing or BadValue.
    """
    rights.require_admin(actor)
    with writing():
        rule = get(rule_id)
        before = view(rule)
        if fields.get("project"):
            fields.setdefault("tag", None)
        elif fields.get("tag"):
            fields.setdefault("project", None)
        for name, value in _clean({**before, **fields}).items():
            setattr(rule, name, value)
        rule.modified = now()
        rule.save()
        if fields.get("position") is not None:
            _put(rule, fields["position"])
        after = view(rule)
        if after != before:
            audit.record(actor, "rule:changed", "rule", rule.id, before=before, after=after)
    routing.forget()
    return rule


def remove(rule_id: int, *, actor: Actor) -> dict[str, Any]:
    """Remove a rule; returns what it was, from which `add` makes it again. Objects stay where they are."""
    rights.require_admin(actor)
    with writing():
        rule = get(rule_id)
        removed = view(rule)
        rule.delete_instance()
        audit.record(actor, "rule:removed", "rule", rule_id, before=removed)
    routing.forget()
    return removed


def get(rule_id: int) -> RoutingRule:
    """Raises Missing."""
    rule: RoutingRule | None = RoutingRule.get_or_none(RoutingRule.id == rule_id)
    if rule is None:
        raise Missing(f"There is no routing rule {rule_id}. `portal rule list` shows them.")
    return rule


def list_all() -> Sequence[RoutingRule]:
    """In the order in which they are asked."""
    return list(RoutingRule.select().order_by(RoutingRule.position, RoutingRule.id))


def views() -> list[dict[str, Any]]:
    """All rules in their order, as commands and programs see them."""
    return [view(rule, place) for place, rule in enumerate(list_all(), start=1)]


def view(rule: RoutingRule, position: int | None = None) -> dict[str, Any]:
    """`position`: its place in the order, from 1, where the caller knows it."""
    if position is None:
        before = (RoutingRule.position < rule.position) | (
            (RoutingRule.position == rule.position) & (RoutingRule.id < rule.id)
        )
        position = RoutingRule.select().where(before).count() + 1
    peer: Peer | None = rule.peer
    return {
        "id": rule.id,
        "position": position,
        "enabled": rule.enabled,
        "peer": peer.label if peer else None,
        **{name: getattr(rule, name) or None for name in ("called", *PATTERNS)},
        "project": None if rule.project_id is None else projects.path_of(rule.project_id),
        "tag": rule.tag or None,
    }


def _clean(values: dict[str, Any]) -> dict[str, Any]:
    if bool(values["project"]) == bool(values["tag"]):
        raise BadValue("Give a rule one target: a project, or the tag that names it.", field="project")
    target = projects.get_by_path(values["project"]) if values["project"] else None
    if target is not None and target.group.code == UNKNOWN_GROUP:
        raise BadValue("What no rule places goes there anyway. Choose another project.", field="project")
    columns = {name: (values[name] or "").strip() for name in PATTERNS}
    for name, text in columns.items():
        if len(text) > MAX_PATTERN_LENGTH or not text.isprintable():
            raise BadValue(f"A pattern has at most {MAX_PATTERN_LENGTH} visible characters.", field=name)
    tag = (values["tag"] or "").strip()
    if tag:
        digits = f"{tag_for_keyword(tag) or 0:08x}" if tag.isalpha() else tag.replace(",", "").lower()
        if len(digits) != 8 or set(digits) - set("0123456789abcdef") or digits[:4] in ("0000", "0002"):
            raise BadValue(f"{tag[:40]!r} is no element. Write it like 0032,4000 or StudyComments.", field="tag")
        tag = digits
    return {
        **columns,
        "peer": peers.get(values["peer"]) if values["peer"] else None,
        "called": ae_titles.clean(values["called"], field="called") if values["called"] else "",
        "project": target,
        "tag": tag,
        "enabled": bool(values["enabled"]),
    }


def _put(rule: RoutingRule, place: int) -> None:
    """Make a rule the one at a place of the order, from 1, and number all anew: there are few."""
    others = [one for one in list_all() if one.id != rule.id]
    if not 1 <= place <= len(others) + 1:
        raise BadValue(f"The position is a number from 1 to {len(others) + 1}.", field="position")
    others.insert(place - 1, rule)
    for number, one in enumerate(others, start=1):
        RoutingRule.update(position=number * _STEP).where(RoutingRule.id == one.id).execute()
    rule.position = place * _STEP
