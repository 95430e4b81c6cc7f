"""A look at where an export would put some real objects, while its form is still being written."""

from dataclasses import dataclass

from portal import containers, export_orders, export_rules, export_samples
from portal.errors import PortalError
from portal.export_orders import Options
from portal.models import Storage
from portal.storage import storages

SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class Line:
    """One object: its key, or why it stays here; `name` is what it is called here."""

    name: str
    key: str
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Preview:
    lines: tuple[Line, ...] = ()
    before: str = ""
    """What stands before each key: the storage and its prefix."""
    refusal: str = ""
    """What is not right yet, in a sentence."""


def look(path: str, to: str, options: Options) -> Preview:
    """Some objects of the project under the rules as they are now; a refusal where these cannot be."""
    try:
        project = containers.project(path)
        part = export_orders.part_of(project.id, options.level, options.only)
        rules = export_rules.parse(options.rules)
    except PortalError as error:
        return Preview(refusal=error.sentence)
    lines = []
    for found in export_samples.sample(part, SHOWN):
        key, sentence = rules.place(found)
        lines.append(Line(name=found.path, key=key, sentence=sentence))
    return Preview(lines=tuple(lines), before=_before(to))


def _before(to: str) -> str:
    row: Storage | None = next((row for row in storages.every() if row.label == to), None)
    return "/".join(part for part in (row.label, row.prefix) if part) + "/" if row else ""
