"""A preview of an export: what it would do with some real objects, while its form is being filled in."""

import itertools
from dataclasses import dataclass

from portal.access.actors import Actor
from portal.errors import PortalError
from portal.exports import request, selection, send_plan
from portal.exports import rules as export_rules
from portal.exports.request import PEER_PREFIX, Options
from portal.models import Storage
from portal.storage import storages
from portal.tree import projects, samples

MAX_LINES = 10


@dataclass(frozen=True, kw_only=True)
class Line:
    """One object: its key, or why it is skipped; `name` is its name here."""

    name: str
    key: str
    message: str
    sop_class: str = ""
    """Of an object that would be sent to a peer."""


@dataclass(frozen=True, kw_only=True)
class Preview:
    lines: tuple[Line, ...] = ()
    before: str = ""
    """The storage and its prefix, before each key."""
    peer: str = ""
    """The label of the peer that gets the objects; it gets no paths."""
    of: str = ""
    """The part of the project in words; empty for all of it."""
    refusal: str = ""
    """Why the form is not valid yet."""


def build(path: str, to: str, options: Options, *, actor: Actor) -> Preview:
    """Some objects of the project under the present rules; a refusal where the rules cannot be read."""
    try:
        request.require_exporter(path, to, actor)
        options = request.options_for(to, options)
        project = projects.get_by_path(path)
        part = selection.resolve(project.id, options.level, options.only)
        rules = export_rules.parse(options.rules)
    except PortalError as error:
        return Preview(refusal=error.message)
    files = samples.sample(part, MAX_LINES)
    of = selection.title(part, options.level, options.only)
    lines = []
    if to.startswith(PEER_PREFIX):
        for file, refusal in itertools.islice(send_plan.with_refusals(files), MAX_LINES):
            _key, reason = rules.place(file)
            message = reason or refusal
            sop_class = "" if message else send_plan.sop_class(file)
            lines.append(Line(name=file.path, key="", message=message, sop_class=sop_class))
        return Preview(lines=tuple(lines), peer=to.removeprefix(PEER_PREFIX), of=of)

    for file in files:
        key, message = rules.place(file)
        lines.append(Line(name=file.path, key=key, message=message))
    storage: Storage | None = next((row for row in storages.list_all() if row.label == to), None)
    before = "/".join(filter(None, (storage.label, storage.prefix))) + "/" if storage else ""
    return Preview(lines=tuple(lines), before=before, of=of)
