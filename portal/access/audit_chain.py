"""Verification of the audit log: each entry that was changed, removed, added by somebody else or moved, by its number.

What it cannot see is that the whole database is an older copy, or that the last entries were removed by somebody who
also changed the numbers given: for that, `head` is kept outside the database and compared by `holds`.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from portal import runtime
from portal.access import audit
from portal.models import Audit, append_only
from portal.models.compiled import raw_rows
from portal.vault import Vault

ENTRIES_PER_CHUNK = 2_000
"""Read by one statement, so that no cursor stays open."""
NEIGHBOURS = 10_000
"""How far from its number an entry is looked for that was moved."""
MAX_LOOKS = 10
"""Problems of a chunk for which that is done: of a log that was rewritten, every entry has one."""

Kind = Literal["changed", "removed", "moved", "forged"]
"""forged: its digests fit, and its HMAC does not."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """The last entry: its number and its digest, which binds all entries before it."""

    number: int
    hash: str


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is wrong with an entry, or with those from `number` to `last`."""

    kind: Kind
    number: int
    last: int
    message: str


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Some verified entries; `last` is the number to go on after."""

    problems: tuple[Problem, ...]
    entries: int
    last: int
    is_end: bool


@dataclass(frozen=True)
class _Entry:
    """An entry with its content as the database has it, byte for byte."""

    number: int
    previous: str
    hash: str
    hmac: str
    content: tuple[Any, ...]

    def digest(self, number: int | None = None) -> str:
        """The digest of its content under its number or another; without an HMAC, as earlier releases made it."""
        if self.hmac:
            return audit.digest(number or self.number, self.previous, self.content)
        at, *texts, _session = self.content
        whole = [self.previous, f"{str(at).replace(' ', 'T', 1)}+00:00", *texts]
        return hashlib.sha256(json.dumps(whole, ensure_ascii=False).encode()).hexdigest()


def head() -> Head | None:
    """The last entry; None for an empty log."""
    last = append_only.last_entry()
    return Head(number=last.number, hash=last.hash) if last.number else None


def holds(known: Head) -> bool:
    """Whether the log still has the entry that was once its last, with the same digest."""
    return bool(Audit.select().where(Audit.id == known.number, Audit.hash == known.hash).exists())


def verify(after: int = 0) -> Iterator[Problem]:
    """Each problem of the entries after a number, in their order, up to the end of the log."""
    while True:
        chunk = verify_chunk(after)
        yield from chunk.problems
        if chunk.is_end:
            return
        after = chunk.last


def verify_chunk(after: int, limit: int = ENTRIES_PER_CHUNK) -> Chunk:
    """Verify the next entries after a number, by one statement; the last chunk also looks at the end of the log."""
    secrets = runtime.secrets()
    previous = next(iter(_read(Audit.id <= after, Audit.id.desc(), 1)), None)
    entries = _read(Audit.id > after, Audit.id, limit)
    problems: list[Problem] = []
    for entry in entries:
        is_known = bool(problems) and problems[-1].last == entry.number - 1 and problems[-1].kind != "removed"
        problems += _problems(entry, previous, secrets, is_known=is_known, look=len(problems) < MAX_LOOKS)
        previous = entry
    is_end = len(entries) < limit
    return Chunk(
        problems=(*problems, *(_problems_at_end(secrets) if is_end else ())),
        entries=len(entries),
        last=entries[-1].number if entries else after,
        is_end=is_end,
    )


def _problems(
    entry: _Entry, previous: _Entry | None, secrets: Vault, *, is_known: bool, look: bool
) -> Iterator[Problem]:
    """What is wrong with an entry. `is_known`: the entry before it has a problem, which explains a link that is wrong.

    `look` for the place that an entry was moved from, which reads thousands of rows.
    """
    expected = previous.number + 1 if previous else 1
    if entry.number > expected:
        yield _removed(expected, entry.number - 1)
    place = partial(_place_of, entry, look=look)
    key, name = audit.key_of(entry.hmac), audit.key_name(secrets)
    if entry.hash != entry.digest():
        # The content may be whole, and only stand under another number than that after its predecessor's.
        original = place()
        is_moved = original not in (None, entry.number) and entry.hash == entry.digest(original)
        yield _moved(entry, original) if is_moved else _problem("changed", entry.number, "was changed.")
    elif (entry.hmac != audit.hmac(secrets, entry.hash)) if key == name else _has_key(previous, name):
        yield _problem("forged", entry.number, "was changed or added without the site's key.")
    elif entry.number == expected and not is_known and not _follows(entry, previous):
        original = None if entry.hmac else place()
        if original not in (None, entry.number):
            yield _moved(entry, original)
        elif previous:
            yield _problem("changed", previous.number, "or one before it was changed together with its digest.")
        else:
            yield _problem("changed", entry.number, "is not the first that was written.")


def _problems_at_end(secrets: Vault) -> Iterator[Problem]:
    last = append_only.last_entry()
    if last.given > last.number:
        yield _removed(last.number + 1, last.given)
    if last.number and audit.key_of(last.hmac) != audit.key_name(secrets):
        yield _problem("forged", last.number, "is the last one, and was written without the site's key.")


def _has_key(entry: _Entry | None, name: str) -> bool:
    return entry is not None and audit.key_of(entry.hmac) == name


def _follows(entry: _Entry, previous: _Entry | None) -> bool:
    if previous is None:
        return entry.previous == audit.FIRST_PREVIOUS
    return entry.previous in (previous.hash, previous.digest())


def _place_of(entry: _Entry, *, look: bool) -> int | None:
    """The number that an entry had by its predecessor; None if that is not found near its number."""
    near = Audit.id.between(entry.number - NEIGHBOURS, entry.number + NEIGHBOURS)
    row = Audit.select(Audit.id).where(near, Audit.hash == entry.previous).first() if look else None
    return row.id + 1 if row else None


def _read(condition: Any, order: Any, limit: int) -> list[_Entry]:
    columns = (Audit.id, Audit.previous, Audit.hash, Audit.hmac, *audit.CONTENT)
    query = Audit.select(*columns).where(condition).order_by(order).limit(limit)
    return [_Entry(row[0], row[1], row[2], row[3], row[4:]) for row in raw_rows(query)]


def _moved(entry: _Entry, original: int | None) -> Problem:
    return _problem("moved", entry.number, f"was written as entry {original:,}, and stands in another place.")


def _removed(first: int, last: int) -> Problem:
    entries = f"Entry {first:,} was" if first == last else f"Entries {first:,} to {last:,} were"
    return Problem(kind="removed", number=first, last=last, message=f"{entries} removed.")


def _problem(kind: Kind, number: int, what: str) -> Problem:
    return Problem(kind=kind, number=number, last=number, message=f"Entry {number:,} {what}")
