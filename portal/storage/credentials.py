"""Secrets of storages, sealed for their row; a page gets when and by whom they were set, never the secrets."""

import json
from typing import Any

from portal import runtime
from portal.access.actors import Actor
from portal.models import Secret, Storage, now


def replace(storage_id: int, secret: dict[str, str], *, actor: Actor) -> None:
    """Seal the secrets of a storage in place of those before; none deletes them. Inside the caller's write block."""
    delete(storage_id)
    if secret:
        row = _row(storage_id)
        sealed = runtime.secrets().seal(json.dumps(secret), row=row)
        Secret.create(row=row, sealed=sealed, set_at=now(), set_by=actor.name or actor.type)


def delete(storage_id: int) -> None:
    Secret.delete().where(Secret.row == _row(storage_id)).execute()


def reveal(row: Storage) -> dict[str, str]:
    """The secrets in clear, only for the driver. Raises Damaged where another key file sealed them."""
    secret_row = Secret.get_or_none(Secret.row == _row(row.id))
    if secret_row is None:
        return {}
    secrets: dict[str, str] = json.loads(runtime.secrets().unseal(bytes(secret_row.sealed), row=_row(row.id)))
    return secrets


def describe(row: Storage) -> dict[str, Any]:
    """When and by whom the secrets were set; both empty where there are none."""
    secret_row = Secret.get_or_none(Secret.row == _row(row.id))
    return {"set_at": secret_row and secret_row.set_at, "set_by": secret_row.set_by if secret_row else ""}


def _row(storage_id: int) -> str:
    return f"storage:{storage_id}"
