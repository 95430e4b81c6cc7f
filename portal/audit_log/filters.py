"""Filters of the audit log, and its pages: by who, kind, target and date, each answered by an index in any combination.

A page goes on where the one before ended (by the number of an entry), so that its time does not depend on its place.
"""

import functools
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

from peewee import Value, fn

from portal.audit_log.kinds import KINDS, actions_of
from portal.errors import BadValue, Missing
from portal.listing import contains
from portal.models import ApiKey, Audit, AuditedSession, Device, Peer, Storage, User, now, ordered_unions
from portal.tree import rest_ids

ENTRIES_PER_PAGE = 50
MAX_COUNTED = 1_000
"""More entries are not counted: the count alone would take longer than the page."""
MAX_NAMED = 5
"""Users, devices and peers that one text of a filter names."""
MAX_LOOKED_AT = 1_000
"""Names among which an exact one is looked for."""
MAX_NUMBER = 2**62
CLOCK_MARGIN = 1_000
"""Entries that are looked through beyond the ends of a time range, in case the clock was set back meanwhile."""
DAYS = {"today": "Today", "yesterday": "Yesterday", "week": "Last 7 days"}
_REFERENCE = re.compile(
    "(user|device|peer|storage|job|schedule|conflict|association|study|record|caller"
    "|project|subject|session|acquisition|file) ([1-9][0-9]{0,17})"
)
_ADDRESS = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){3}|[0-9A-Fa-f]*:[0-9A-Fa-f:.]+")


@dataclass(frozen=True, kw_only=True)
class AuditFilter:
    """What is looked for. Texts are as in the address of the page; an empty one takes everything."""

    who: str = ""
    """A part of an email or a label, `device 7`, an API key id, or an address."""
    kind: str = ""
    about: str = ""
    """`session 12`, an API key id, an id of the REST interface, or a label of a device, peer or user."""
    day: str = ""
    begin_text: str = ""
    end_text: str = ""
    begin: datetime | None = None
    end: datetime | None = None
    """The first moment that is not included any more."""

    @property
    def address(self) -> dict[str, str]:
        """The query string of the page with this filter."""
        texts = {"who": self.who, "kind": self.kind, "about": self.about, "day": self.day}
        return {k: v for k, v in (texts | {"from": self.begin_text, "to": self.end_text}).items() if v}

    @cached_property
    def choices(self) -> list[tuple[Any, ...]]:
        """The conditions of each select: of an actor, a target and an action. Empty where nothing can be found."""
        who, about = _actors(self.who, is_only=not self.about), _targets(self.about)
        # Most kinds have many actions, of which a log has a few; each that it has is a select of its own.
        present = set(ordered_unions.distinct_values(Audit.action)) if self.kind else set()
        actions = sorted(present.intersection(actions_of(self.kind))) if self.kind else []
        if (self.who and not who) or (self.about and not about) or (self.kind and not actions):
            return []
        # Of one target there are few entries; of one actor or kind there may be a million.
        split = [Audit.action.in_(actions)] if actions and about else [Audit.action == action for action in actions]
        product = itertools.product(who or (None,), about or (None,), split or (None,))
        return [tuple(part for part in parts if part is not None) for parts in product]


EVERYTHING = AuditFilter()


def parse(values: Mapping[str, str], *, zone: ZoneInfo, moment: datetime | None = None) -> AuditFilter:
    """The filter of a query string or a command line; days are those of the zone. Raises BadValue."""
    given = {name: values.get(name, "").replace("\0", "").strip()[:200] for name in ("who", "kind", "about", "day")}
    # The name that links of earlier releases have.
    given["about"] = given["about"] or values.get("q", "").replace("\0", "").strip()[:200]
    if given["kind"] and given["kind"] not in KINDS:
        raise BadValue(f"There is no kind {given['kind'][:40]!r}. Kinds: {', '.join(KINDS)}.", field="kind")
    begin_text, end_text = (values.get(name, "").strip()[:40] for name in ("from", "to"))
    today = (moment or now()).astimezone(zone).date()
    if given["day"] in DAYS and not (begin_text or end_text):
        first = today - timedelta(days={"today": 0, "yesterday": 1, "week": 6}[given["day"]])
        last = first if given["day"] == "yesterday" else today
        return AuditFilter(**given, begin=_midnight(first, zone), end=_midnight(last + timedelta(days=1), zone))
    begin = _midnight(_date(begin_text, "from"), zone) if begin_text else None
    end = _midnight(_date(end_text, "to") + timedelta(days=1), zone) if end_text else None
    return AuditFilter(**(given | {"day": ""}), begin_text=begin_text, end_text=end_text, begin=begin, end=end)


def page(
    chosen: AuditFilter, *, before: int | None = None, after: int | None = None, limit: int = ENTRIES_PER_PAGE
) -> list[Audit]:
    """The entries before or after a number, the latest first; without either, the latest."""
    numbers = _numbers(chosen, before=before, after=after, limit=limit)
    return list(Audit.select().where(Audit.id.in_(numbers)).order_by(Audit.id.desc())) if numbers else []


def count(chosen: AuditFilter) -> int:
    """The number of entries, up to one more than MAX_COUNTED if there is a filter."""
    if chosen == EVERYTHING:
        return int(Audit.select(fn.MAX(Audit.id)).scalar() or 0)
    return len(_numbers(chosen, before=None, after=None, limit=MAX_COUNTED + 1))


def _numbers(chosen: AuditFilter, *, before: int | None, after: int | None, limit: int) -> list[int]:
    """The numbers of the wanted entries: one select for each actor, target and action."""
    within, falling = _within(chosen, before, after), after is None
    selects = [
        Audit.select(Audit.id).where(*parts, *within).order_by(Audit.id.desc() if falling else Audit.id).limit(limit)
        for parts in chosen.choices
    ]
    return ordered_unions.first_numbers(selects, limit=limit, falling=falling) if selects else []


def _within(chosen: AuditFilter, before: int | None, after: int | None) -> list[Any]:
    """The conditions of page and time. Numbers rise with time, but for a clock that was set back."""
    # One bound on each side: of two, SQLite uses the first that it meets, and walks the index from there.
    low, high = 1 if after is None else after + 1, MAX_NUMBER if before is None else before - 1
    # Hidden from the planner, which would take the index of the times and sort all that is in the range.
    at: Any = fn.COALESCE(Audit.at, Audit.at)
    moments = []
    if chosen.begin is not None:
        first = Audit.select(Audit.id).where(Audit.at >= chosen.begin).order_by(Audit.at).limit(1).scalar()
        low = max(low, (MAX_NUMBER if first is None else first) - CLOCK_MARGIN)
        moments.append(at >= Audit.at.db_value(chosen.begin))
    if chosen.end is not None:
        last = Audit.select(Audit.id).where(Audit.at < chosen.end).order_by(Audit.at.desc()).limit(1).scalar()
        high = min(high, (last or 0) + CLOCK_MARGIN)
        moments.append(at < Audit.at.db_value(chosen.end))
    return [Audit.id >= low, Audit.id <= high, *moments]


def _actors(text: str, *, is_only: bool) -> list[Any]:
    """The conditions of the actors that a text names; of an address, that of the address."""
    if not text:
        return []
    if _ADDRESS.fullmatch(text):
        return [Audit.address == text]
    if reference := _REFERENCE.fullmatch(text):
        found = [(reference[1], reference[2])]
    elif key := ApiKey.get_or_none(ApiKey.key_id == text):
        return [(Audit.actor_type == key.owner_type) & (Audit.actor_id == str(key.owner_id)) & (Audit.via == text)]
    else:
        found = [("system", text)] if text in ("operator", "portal", "listener") else _named(text)
    # Where a target is given too, its index is the better one.
    type_column: Any = Audit.actor_type if is_only else fn.COALESCE(Audit.actor_type, "")
    return [(type_column == kind) & (Audit.actor_id == number) for kind, number in found]


def _targets(text: str) -> list[Any]:
    """The conditions of the things that a text names: what was done to them, and who saw them."""
    if not text:
        return []
    if reference := _REFERENCE.fullmatch(text):
        found = [(reference[1], reference[2])]
    elif ApiKey.select().where(ApiKey.key_id == text).exists():
        found = [("key", text)]
    elif _ADDRESS.fullmatch(text):
        found = [("address", text)]
    elif text == "site":
        found = [("site", "")]
    else:
        try:
            found = [(kind, str(number)) for kind, number in (rest_ids.decode(text),)]
        except Missing:
            found = _named(text)
    conditions: list[Any] = [(Audit.target_type == kind) & (Audit.target_id == number) for kind, number in found]
    for kind, number in found:
        if kind == "device":
            keys = ApiKey.select(ApiKey.key_id).where(ApiKey.owner_type == kind, ApiKey.owner_id == int(number))
            conditions.append((Audit.target_type == "key") & Audit.target_id.in_(keys))
        if kind == "session":
            among = AuditedSession.select(AuditedSession.audit).where(AuditedSession.session == int(number))
            conditions += [Audit.session == int(number), Audit.id.in_(among)]
    return conditions


def _named(text: str) -> list[tuple[str, str]]:
    """The users, devices, peers and storages of this name; if there is none, the first with it in their names."""
    tables: Any = (("user", User, User.email), ("device", Device, Device.label))
    tables += (("peer", Peer, Peer.label), ("storage", Storage, Storage.label))
    selects = [table.select(Value(kind), table.id, name).where(contains(name, text)) for kind, table, name in tables]
    rows = list(functools.reduce(lambda whole, one: whole.union_all(one), selects).limit(MAX_LOOKED_AT).tuples())
    exact = [(kind, str(number)) for kind, number, name in rows if name.casefold() == text.casefold()]
    return exact or [(kind, str(number)) for kind, number, _name in rows[:MAX_NAMED]]


def _date(text: str, field: str) -> date:
    try:
        found = date.fromisoformat(text)
        if not 1900 <= found.year <= 9000:  # midnight in another zone has to be a date too
            raise ValueError(text)
        return found
    except ValueError as error:
        raise BadValue(f"{text!r} is no date. Write it like 2026-11-28.", field=field) from error


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC)
