"""Secrets of storages: sealed for their row, write-only; a page learns when they were set and by whom, never what."""

import json
from typing import Any

from portal import runtime
from portal.access.actors import Actor
from portal.models import Secret, Storage, now


def replace(storage_id: int, secret: dict[str, str], *, actor: Actor) -> None:
    """Seal the secrets of a storage in place of those before; none forgets them. Inside the caller's write block."""
    delete(storage_id)
    if secret:
        row = _row(storage_id)
        sealed = runtime.secrets().seal(json.dumps(secret), row=row)
        Secret.create(row=row, sealed=sealed, set_at=now(), set_by=actor.name or actor.type)


def delete(storage_id: int) -> None:
    Secret.delete().where(Secret.row == _row(storage_id)).execute()


def reveal(row: Storage) -> dict[str, str]:
    """The secrets in clear, for the driver alone. Raises Damaged where another key file sealed them."""
    kept = Secret.get_or_none(Secret.row == _row(row.id))
    if kept is None:
        return {}
    opened: dict[str, str] = json.loads(runtime.secrets().unseal(bytes(kept.sealed), row=_row(row.id)))
    return opened


def describe(row: Storage) -> dict[str, Any]:
    """When and by whom the secrets were set; both empty where there are none."""
    kept = Secret.get_or_none(Secret.row == _row(row.id))
    return {"set_at": kept and kept.set_at, "set_by": kept.set_by if kept else ""}


def _row(storage_id: int) -> str:
    return f"storage:{storage_id}"
