"""Who uses each API key: its requests by address and program, counted in memory and written once a minute."""

import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from peewee import EXCLUDED, PeeweeException, chunked, fn

from portal import models
from portal.models import ApiKey, KeyUse, now, writing

log = logging.getLogger(__name__)

MAX_USES_PER_KEY = 50
"""Addresses and programs of one key that are kept, the latest."""
USES_KEPT = timedelta(days=90)
MAX_USES_WAITING = 20_000
"""Uses that wait while the database cannot be written; further ones are not counted."""
MAX_PROGRAM_LENGTH = 100
_KEYS_PER_STATEMENT, _KEYS_READ_AT_ONCE = 200, 5_000

_Use = tuple[str, str, str]
"""Key id, address, program."""


@dataclass(frozen=True)
class _Span:
    first: datetime
    last: datetime
    count: int


class KeyUseCounter:
    """The uses of one process that are not written yet. `count` never waits for the disk and never fails."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[_Use, _Span] = {}

    def count(self, key_id: str, *, address: str, program: str) -> None:
        """Count one answered request."""
        moment = now()
        self._add([((key_id, address, clean_program(program)), _Span(moment, moment, 1))])

    def flush(self) -> None:
        """Write the uses. Those that cannot be written now wait for the next time."""
        with self._lock:
            taken, self._waiting = self._waiting, {}
        if not taken:
            return
        try:
            with models.connection():
                for part in chunked(taken.items(), _KEYS_PER_STATEMENT):
                    with writing():
                        _write(dict(part))
                with writing():
                    KeyUse.delete().where(KeyUse.last < now() - USES_KEPT).execute()
        except PeeweeException as error:
            log.warning("the uses of keys could not be written: %s", error)
            self._add(taken.items())

    def _add(self, uses: Iterable[tuple[_Use, _Span]]) -> None:
        with self._lock:
            for use, new in uses:
                old = self._waiting.get(use)
                if old is not None:
                    self._waiting[use] = _Span(
                        min(old.first, new.first), max(old.last, new.last), old.count + new.count
                    )
                elif len(self._waiting) < MAX_USES_WAITING:
                    self._waiting[use] = new


def note_first(key: ApiKey, *, address: str, program: str, at: datetime) -> None:
    """Show a use before it is counted. Within a write block."""
    KeyUse.insert(key=key.id, address=address, program=program, first=at, last=at, count=0).on_conflict(
        conflict_target=[KeyUse.key, KeyUse.address, KeyUse.program], update={KeyUse.last: at}
    ).execute()


def by_key(keys: Iterable[ApiKey]) -> dict[int, list[KeyUse]]:
    """The uses of some keys by the number of the key, the latest first; one statement for many keys."""
    uses: dict[int, list[KeyUse]] = {}
    for part in chunked([key.id for key in keys], _KEYS_READ_AT_ONCE):
        for row in KeyUse.select().where(KeyUse.key.in_(part)).order_by(KeyUse.last.desc()):
            uses.setdefault(row.key_id, []).append(row)
    return uses


def view(use: KeyUse) -> dict[str, Any]:
    """One use for `--json`."""
    times = {"first": use.first.isoformat(), "last": use.last.isoformat()}
    return {"address": use.address, "program": use.program, "count": use.count, **times}


def clean_program(text: str) -> str:
    """What a program says it is, without invisible characters."""
    return "".join(character for character in text if character.isprintable())[:MAX_PROGRAM_LENGTH]


def _write(uses: dict[_Use, _Span]) -> None:
    known: Any = ApiKey.select(ApiKey.key_id, ApiKey.id).where(ApiKey.key_id.in_({use[0] for use in uses})).tuples()
    numbers = dict(known)
    rows = [
        {"key": numbers[key_id], "address": address, "program": program}
        | {"first": span.first, "last": span.last, "count": span.count}
        for (key_id, address, program), span in uses.items()
        if key_id in numbers
    ]
    if not rows:
        return
    KeyUse.insert_many(rows).on_conflict(
        conflict_target=[KeyUse.key, KeyUse.address, KeyUse.program],
        update={
            KeyUse.count: KeyUse.count + EXCLUDED["count"],
            KeyUse.last: fn.MAX(KeyUse.last, EXCLUDED["last"]),
        },
    ).execute()
    crowded = KeyUse.select(KeyUse.key).where(KeyUse.key.in_(list(numbers.values()))).group_by(KeyUse.key)
    for row in crowded.having(fn.COUNT(KeyUse.id) > MAX_USES_PER_KEY):
        latest = KeyUse.select(KeyUse.id).where(KeyUse.key == row.key_id).order_by(KeyUse.last.desc())
        kept = [use.id for use in latest.limit(MAX_USES_PER_KEY)]
        KeyUse.delete().where(KeyUse.key == row.key_id, KeyUse.id.not_in(kept)).execute()
