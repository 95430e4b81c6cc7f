"""The audit log: append-only, each event chained to the one before by its digest."""

import hashlib
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from portal.access.actors import Actor
from portal.models import Audit, database, now

FIRST_PREVIOUS = "0" * 64


def record(actor: Actor, action: str, target_type: str, target_id: object, **detail: Any) -> None:
    """Write one event (`peer:registered`) in the same write block as the change: one is not written without the other.

    `detail` has the changed values, before and after; never a secret, never a patient's name.
    """
    if not database.in_transaction():
        raise RuntimeError("audit.record belongs inside models.writing()")
    last = Audit.select(Audit.hash).order_by(Audit.id.desc()).first()
    row = Audit(
        at=now(),
        actor_type=actor.type,
        actor_id=actor.id or actor.name,
        via=actor.via,
        action=action,
        target_type=target_type,
        target_id=str(target_id),
        address=actor.address,
        detail=detail,
        previous=last.hash if last else FIRST_PREVIOUS,
    )
    row.hash = _digest(row)
    row.save(force_insert=True)


def broken_links() -> Iterator[int]:
    """Numbers of the rows whose content or predecessor was changed after they were written."""
    previous = FIRST_PREVIOUS
    for row in Audit.select().order_by(Audit.id).iterator():
        if row.previous != previous or row.hash != _digest(row):
            yield row.id
        previous = row.hash


def _digest(row: Audit) -> str:
    at: datetime = row.at
    content = [
        row.previous,
        at.isoformat(timespec="microseconds"),
        row.actor_type,
        row.actor_id,
        row.via,
        row.action,
        row.target_type,
        row.target_id,
        row.address,
        json.dumps(row.detail, sort_keys=True, ensure_ascii=False),
    ]
    return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()
