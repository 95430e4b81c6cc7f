"""A look at what an export would do with some real objects, while its form is still being written."""

from collections.abc import Sequence
from dataclasses import dataclass

from portal.errors import PortalError
from portal.exports import request, samples, selection, send_plan
from portal.exports import rules as export_rules
from portal.exports.request import PEER_PREFIX, Options
from portal.exports.rules import Rules
from portal.models import Storage
from portal.storage import storages
from portal.tree import projects
from portal.tree.walk import WalkedFile

MAX_LINES = 10


@dataclass(frozen=True, kw_only=True)
class Line:
    """One object: its key, or why it stays here; `name` is what it is called here."""

    name: str
    key: str
    message: str
    sop_class: str = ""
    """Of what would be sent to a peer."""


@dataclass(frozen=True, kw_only=True)
class Preview:
    lines: tuple[Line, ...] = ()
    before: str = ""
    """What stands before each key: the storage and its prefix."""
    peer: str = ""
    """Its label: it gets objects, not paths."""
    of: str = ""
    """What of the project these are from, in words; empty for all of it."""
    refusal: str = ""
    """What is not right yet, in a sentence."""


def build(path: str, to: str, options: Options) -> Preview:
    """Some objects of the project under the rules as they are now; a refusal where these cannot be."""
    try:
        options = request.options_for(to, options)
        project = projects.get_by_path(path)
        part = selection.resolve(project.id, options.level, options.only)
        rules = export_rules.parse(options.rules)
    except PortalError as error:
        return Preview(refusal=error.message)
    some = samples.sample(part, MAX_LINES)
    of = selection.title(part, options.level, options.only)
    if to.startswith(PEER_PREFIX):
        return Preview(lines=_objects(some, rules), peer=to.removeprefix(PEER_PREFIX), of=of)
    placed = ((found.path, *rules.place(found)) for found in some)
    lines = tuple(Line(name=name, key=key, message=message) for name, key, message in placed)
    return Preview(lines=lines, before=_before(to), of=of)


def _objects(some: Sequence[WalkedFile], rules: Rules) -> tuple[Line, ...]:
    """What a peer would be sent, and why the others stay here."""
    classes = send_plan.sop_classes([found.id for found in some])
    lines = []
    for found, why in send_plan.with_refusals(some):
        _key, left_out = rules.place(found)
        message = left_out or why
        sop_class = "" if message else classes.get(found.id, "")
        lines.append(Line(name=found.path, key="", message=message, sop_class=sop_class))
    return tuple(lines)


def _before(to: str) -> str:
    row: Storage | None = next((row for row in storages.list_all() if row.label == to), None)
    return "/".join(part for part in (row.label, row.prefix) if part) + "/" if row else ""
