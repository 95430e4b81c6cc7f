"""Entries of the audit log in words, with the names of who did it and of what it was done to, and as rows of a file."""

import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from peewee import Value

from portal import models
from portal.access import audit_entries
from portal.access.audit_entries import AuditEntry, Change
from portal.audit_log import filters, kinds
from portal.audit_log.filters import AuditFilter
from portal.models import (
    Acquisition,
    ApiKey,
    Association,
    Audit,
    Conflict,
    Device,
    File,
    Group,
    Job,
    Peer,
    Project,
    Schedule,
    Session,
    Storage,
    Study,
    Subject,
    User,
)

ENTRIES_PER_CHUNK = 500
HEADS = (
    *("Event", "Time", "Actor type", "Actor number", "Actor", "Via", "Address"),
    *("Action", "Target type", "Target", "Target name", "In words", "Detail"),
)
ALWAYS = Value(1)
NOUNS = {"key": "API key", "study": "study", "caller": "refused caller", "site": "the site", "address": ""}
"""What a target is called where that is not its type."""
FIGURES = (("files", "file"), ("instances", "instance"), ("done", "object"), ("users", "user"))
"""Counts of an entry's detail, with what one is called."""
_LABELS: tuple[tuple[str, Any, Any, Any, Any], ...] = (
    ("user", User, User.id, User.email, ALWAYS),
    ("device", Device, Device.id, Device.label, ALWAYS),
    ("peer", Peer, Peer.id, Peer.label, ALWAYS),
    ("storage", Storage, Storage.id, Storage.label, ALWAYS),
    ("schedule", Schedule, Schedule.id, Schedule.label, ALWAYS),
    ("key", ApiKey, ApiKey.key_id, ApiKey.name, ALWAYS),
    ("group", Group, Group.id, Group.label, ALWAYS),
    ("project", Project, Project.id, Project.label, ALWAYS),
    ("subject", Subject, Subject.id, Subject.label, Subject.trash.is_null()),
    ("session", Session, Session.id, Session.label, Session.trash.is_null()),
    ("acquisition", Acquisition, Acquisition.id, Acquisition.label, Acquisition.trash.is_null()),
    ("file", File, File.id, File.name, File.deleted_at.is_null()),
    ("study", Study, Study.id, Study.description, Study.n_instances > 0),
    ("job", Job, Job.id, Job.what, ALWAYS),
    ("conflict", Conflict, Conflict.id, Value(""), ALWAYS),
    ("association", Association, Association.id, Value(""), ALWAYS),
)
"""Of each type of target: its table, number and name, and whether it has a page, which things in the trash do not."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """What an entry is about, by its current name."""

    type: str
    id: str
    name: str
    has_page: bool

    @property
    def noun(self) -> str:
        return NOUNS.get(self.type, self.type)


@dataclass(frozen=True, kw_only=True)
class EntryView:
    """One entry as the page shows it."""

    entry: AuditEntry
    target: Target

    @property
    def row(self) -> Audit:
        return self.entry.row

    @property
    def words(self) -> tuple[str, str]:
        """What was done, before and after the name of the target; without a target in it, all before."""
        before, _, after = self._words.partition("{}")
        return before.strip(), after.strip()

    @property
    def has_target(self) -> bool:
        return "{}" in self._words

    @property
    def sentence(self) -> str:
        """The whole in plain text: user ann@site.example moved session S1 to the trash, 3 files."""
        who = self.entry.who
        target = f"{self.target.noun} {self.target.name or self.target.id}".strip()
        figures = "".join(
            f", {number:,} {one}{'s' if number != 1 and ' ' not in one else ''}" for number, one in self.figures
        )
        return f"{who.type} {who.name or who.id} {self._words.replace('{}', target)}{figures}"

    @property
    def changes(self) -> tuple[Change, ...]:
        """The changed values, without those of what was added or removed as a whole."""
        return () if self._whole else self.entry.changes

    @property
    def _words(self) -> str:
        words = kinds.words_for(str(self.row.action))
        # Of an association that a peer opened the target is its number in the list, which says nothing to a reader.
        return words.removesuffix(" with {}") if self.target.type == "association" else words

    @property
    def figures(self) -> list[tuple[int, str]]:
        """How many of what: (3, "file")."""
        detail = self.row.detail
        found = [(detail[name], one) for name, one in FIGURES if isinstance(detail.get(name), int)]
        counts = detail.get("counts")
        for operation, counted in counts.items() if isinstance(counts, dict) else ():
            found += [
                (number, f"C-{operation.upper()} {word}")
                for word, number in counted.items()
                if word in ("done", "failed")
            ]
        return found

    @property
    def details(self) -> list[tuple[str, Any]]:
        """The other values of the entry, by name."""
        numbers = {"session", "sessions", "group_id", "project_id"}
        hidden = {"before", "after", "counts", "at", *numbers, *(name for name, _ in FIGURES)}
        shown = {name: value for name, value in self.row.detail.items() if name not in hidden} | self._whole
        return [(name, value) for name, value in shown.items() if value not in (None, "", [], {})]

    @property
    def _whole(self) -> dict[str, Any]:
        """All values of what was added or removed; empty for a change."""
        before, after = self.row.detail.get("before"), self.row.detail.get("after")
        whole = before if after is None else after if before is None else None
        return whole if isinstance(whole, dict) else {}


@dataclass(frozen=True, kw_only=True)
class AuditPage:
    """One page of the filtered log; `newer` and `older` are the numbers after and before which others follow."""

    chosen: AuditFilter
    rows: Sequence[EntryView]
    total: int
    newer: int | None
    older: int | None

    @property
    def is_counted(self) -> bool:
        """Whether `total` is exact; else there are more."""
        return self.chosen == filters.EVERYTHING or self.total <= filters.MAX_COUNTED


def find(chosen: AuditFilter, *, before: int | None = None, after: int | None = None) -> AuditPage:
    """The page before or after an entry; the first one without either."""
    limit = filters.ENTRIES_PER_PAGE
    # One more than a page has tells whether there is another one.
    found = filters.page(chosen, before=before, after=after, limit=limit + 1)
    rows = found[-limit:] if after is not None else found[:limit]
    has_newer, has_older = (len(found) > limit, True) if after is not None else (before is not None, len(found) > limit)
    return AuditPage(
        chosen=chosen,
        rows=views(rows),
        total=filters.count(chosen),
        newer=rows[0].id if rows and has_newer else None,
        older=rows[-1].id if rows and has_older else None,
    )


def views(rows: Sequence[Audit]) -> list[EntryView]:
    """Entries with all names, by two statements."""
    named = audit_entries.with_names(rows)
    found = _names({(str(row.target_type), str(row.target_id)) for row in rows})
    targets = []
    for row in rows:
        kind, number = str(row.target_type), str(row.target_id)
        name, is_live = found.get((kind, number), ("", False))
        targets.append(Target(type=kind, id=number, name=name, has_page=is_live))
    return [EntryView(entry=entry, target=target) for entry, target in zip(named, targets, strict=True)]


def cells(chosen: AuditFilter) -> Iterator[Sequence[Any]]:
    """Heads and rows of all entries of a filter, the latest first."""
    yield HEADS
    for view in iterate(chosen):
        row, who = view.row, view.entry.who
        yield (
            *(row.id, row.at, who.type, who.id, who.name, row.via, row.address),
            *(row.action, row.target_type, row.target_id, view.target.name, view.sentence, row.detail),
        )


def json_lines(chosen: AuditFilter) -> Iterator[bytes]:
    """All entries of a filter as JSON, one a line, with the digests by which each can be verified."""
    for view in iterate(chosen):
        yield (json.dumps(as_json(view), ensure_ascii=False) + "\n").encode(errors="replace")


def as_json(view: EntryView) -> dict[str, Any]:
    """One entry for programs."""
    row, who = view.row, view.entry.who
    return {
        "number": row.id,
        "at": row.at.isoformat(timespec="microseconds"),
        "actor": {"type": who.type, "id": who.id, "name": who.name},
        "via": row.via,
        "address": row.address,
        "action": row.action,
        "target": {"type": row.target_type, "id": row.target_id, "name": view.target.name},
        "words": view.sentence,
        "detail": row.detail,
        "hash": row.hash,
        "hmac": row.hmac,
    }


def iterate(chosen: AuditFilter) -> Iterator[EntryView]:
    """All entries of a filter, the latest first."""
    before = None
    while True:
        # A connection is open for each chunk only, as the network may be slow.
        with models.connection():
            rows = filters.page(chosen, before=before, limit=ENTRIES_PER_CHUNK)
            shown = views(rows)
        if not rows:
            return
        yield from shown
        before = rows[-1].id


def _names(keys: set[tuple[str, str]]) -> dict[tuple[str, str], tuple[str, bool]]:
    """The names of targets that there are, and whether each has a page, by one statement."""
    selects = []
    for kind, table, number, label, is_live in _LABELS:
        wanted: list[Any] = [each for name, each in keys if name == kind]
        if kind != "key":
            wanted = [int(each) for each in wanted if each.isdecimal() and len(each) < 19]
        if wanted:
            selects.append(table.select(Value(kind), number, label, is_live).where(number.in_(wanted)))
    if not selects:
        return {}
    rows = functools.reduce(lambda whole, one: whole.union_all(one), selects).tuples()
    return {(kind, str(number)): (name or "", bool(is_live)) for kind, number, name, is_live in rows}
