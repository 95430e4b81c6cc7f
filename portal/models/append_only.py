"""The audit log's table in SQLite: triggers that refuse to change or remove its rows, and the numbers it has given."""

from dataclasses import dataclass

from portal.models.base import database

_REFUSAL = "The audit log is append-only."
_TRIGGERS = {
    "audit_refuses_update": "BEFORE UPDATE ON audit",
    "audit_refuses_delete": "BEFORE DELETE ON audit",
    # INSERT OR REPLACE removes the row that it replaces without firing the trigger for a delete.
    "audit_refuses_replace": "BEFORE INSERT ON audit WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id)",
}
_LAST = """
    SELECT given.seq, entry.id, entry.hash, entry.hmac
    FROM (SELECT MAX(seq) AS seq FROM sqlite_sequence WHERE name = 'audit') AS given
    LEFT JOIN (SELECT id, hash, hmac FROM audit ORDER BY id DESC LIMIT 1) AS entry
"""


@dataclass(frozen=True, kw_only=True)
class LastEntry:
    """The end of the audit log; `number` is 0 and the texts are empty where it has no entry."""

    given: int
    """The highest number that was ever given. It is larger than `number` once the last entries were removed."""
    number: int
    hash: str
    hmac: str


def create_triggers() -> None:
    """Create those that are missing: a table that a step of the migrations builds anew has lost its own."""
    for name, event in _TRIGGERS.items():
        database.execute_sql(
            f"CREATE TRIGGER IF NOT EXISTS {name} {event} BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
        )


def last_entry() -> LastEntry:
    given, number, digest, hmac = database.execute_sql(_LAST).fetchone()
    return LastEntry(given=given or 0, number=number or 0, hash=digest or "", hmac=hmac or "")
