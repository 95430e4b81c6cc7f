"""The audit log: append-only, each entry chained to the one before it and authenticated with the site's key.

docs/decisions/0099
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from peewee import Value, chunked

from portal import runtime
from portal.access.actors import Actor
from portal.models import Audit, AuditedSession, append_only, database, now, writing
from portal.models.append_only import LastEntry
from portal.models.compiled import Statement, number, text
from portal.vault import Vault

FIRST_PREVIOUS = "0" * 64
CONTENT: tuple[Any, ...] = (
    *(Audit.at, Audit.actor_type, Audit.actor_id, Audit.via, Audit.action),
    *(Audit.target_type, Audit.target_id, Audit.address, Audit.detail, Audit.session),
)
"""The columns of an entry's content, in the order of its digest."""
_add = Statement(
    lambda: Audit.insert(
        {
            Audit.id: number(0),
            Audit.previous: text(1),
            Audit.hash: text(2),
            Audit.hmac: text(3),
            # As the digest has them; the last one is a number.
            **{column: Value(text(place), converter=False) for place, column in enumerate(CONTENT, start=4)},
        }
    )
)
_NOBODY = Actor(type="system", name="portal")


def record(actor: Actor, action: str, target_type: str, target_id: object, **detail: Any) -> None:
    """Write one entry (`peer:registered`) in the same write block as the change: one is not written without the other.

    `detail` has the changed values, before and after; never a secret, never a patient's name. Its `session` is the row
    number of a session that was seen or fetched, its `sessions` those of several.
    """
    record_with(runtime.secrets(), actor, action, target_type, target_id, **detail)


def record_with(secrets: Vault, actor: Actor, action: str, target_type: str, target_id: object, **detail: Any) -> None:
    """As `record`, with another key than that of this process: the one that the site is about to have."""
    if not database.in_transaction():
        raise RuntimeError("audit.record belongs inside models.writing()")
    last = append_only.last_entry()
    if _lacks(secrets, last):
        last = _begin(secrets, last)
    _append(secrets, last, actor, action, target_type, str(target_id), detail)


def begin_key(secrets: Vault) -> None:
    """Bind the entries that were written without this key by one that says so; does nothing if there are none.

    From that entry on the key vouches for the content of all entries before it too, as its digest chains them.
    """
    if _lacks(secrets, append_only.last_entry()):
        with writing():
            _begin(secrets, append_only.last_entry())


def digest(number: int, previous: str, content: Sequence[str | int | None]) -> str:
    """SHA-256 of an entry's number, its predecessor's digest, and its content as the database has it."""
    return hashlib.sha256(json.dumps([number, previous, *content], ensure_ascii=False).encode()).hexdigest()


def hmac(secrets: Vault, entry_digest: str) -> str:
    """What only the holder of the key can write beside a digest."""
    return f"{key_name(secrets)}:{secrets.digest('audit', entry_digest)}"


def key_name(secrets: Vault) -> str:
    """A site's key as entries name it."""
    return secrets.fingerprint[:8]


def key_of(entry_hmac: str) -> str:
    """The key that an entry names; empty if it is older than the HMAC."""
    return entry_hmac.partition(":")[0]


def _lacks(secrets: Vault, last: LastEntry) -> bool:
    return last.number > 0 and key_of(last.hmac) != key_name(secrets)


def _begin(secrets: Vault, last: LastEntry) -> LastEntry:
    detail = {"entries_before": last.number, "hash": last.hash, "key": key_name(secrets)}
    return _append(secrets, last, _NOBODY, "audit:key_began", "site", "", detail)


def _append(
    secrets: Vault, last: LastEntry, actor: Actor, action: str, target_type: str, target_id: str, detail: dict[str, Any]
) -> LastEntry:
    # Not the number after the last entry that is there: of removed entries, the gap remains.
    entry_id = max(last.given, last.number) + 1
    moment, who = now(), actor.id or actor.name
    content = (moment, actor.type, who, actor.via, action, target_type, target_id, actor.address, detail)
    stored = [field.db_value(each) for field, each in zip(CONTENT, (*content, detail.get("session")), strict=True)]
    previous = last.hash or FIRST_PREVIOUS
    entry_hash = digest(entry_id, previous, stored)
    entry_hmac = hmac(secrets, entry_hash)
    _add.run(entry_id, previous, entry_hash, entry_hmac, *stored)
    for some in chunked(({"audit": entry_id, "session": session} for session in detail.get("sessions", ())), 500):
        AuditedSession.insert_many(some).execute()
    return LastEntry(given=entry_id, number=entry_id, hash=entry_hash, hmac=entry_hmac)
