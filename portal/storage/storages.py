"""External storages that an admin has added: the destinations of exports and the sources of imports."""

import builtins
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from portal import site_settings
from portal.access import audit, rights
from portal.access.actors import Actor
from portal.errors import Busy, Missing, NotAllowed
from portal.jobs import jobs
from portal.jobs.kinds import KINDS
from portal.jobs.progress import ACTIVE_STATES
from portal.models import Job, Storage, now, writing
from portal.storage import credentials, fields, providers
from portal.tree import labels

if TYPE_CHECKING:
    from portal.storage_drivers.destination import Destination

UNTESTED = {"state": "untested", "since": None, "message": "", "tested": None, "create_only": None}


def add(
    label: str,
    provider: str,
    *,
    prefix: str = "",
    mode: str = "both",
    visible: str = "site",
    threads: int | str = 0,
    secret: Mapping[str, str] | None = None,
    actor: Actor,
    **config: Any,
) -> Storage:
    """Add a storage; nothing is written there before `request_test`. `config` are the fields of its provider.

    `threads`: how many objects it gets at once; 0 for the number in the site's settings.

    Raises BadValue or Taken, with the field; BadValues where several do not fit.
    """
    rights.require_admin(actor)
    given = {"label": label, "mode": mode, "visible": visible, "prefix": prefix, "threads": threads}
    values, secrets = fields.clean_new(provider, config, given, dict(secret or {}))
    with writing():
        fields.refuse_taken_label(values["label"])
        row = Storage.create(**values, **actor.origin.fields)
        credentials.replace(row.id, secrets, actor=actor)
        common = {name: value for name, value in values.items() if name != "config"}
        audit.record(actor, "storage:added", "storage", row.id, **common, **_for_audit(values["config"]))
    return row


def edit(label: str, /, *, secret: Mapping[str, str] | None = None, actor: Actor, **changes: Any) -> Storage:
    """Change label, prefix, mode, visible, threads, provider, or fields of the provider; the others stay.

    The secret is required again where the provider, its place or its account changes. Saving a folder unchanged, with
    nothing else, drops the requirement of the disk that was mounted there. Raises as `add`; NotAllowed where objects
    were exported there, Busy while a job uses it.
    """
    rights.require_admin(actor)
    row = get(label)
    values, secrets = fields.clean_changes(row, changes, {name: text for name, text in (secret or {}).items() if text})
    with writing():
        row = get(label)
        before = {name: getattr(row, name) for name in values}
        changed = {name: value for name, value in values.items() if before[name] != value}
        _refuse_locked(row, changed)
        if "label" in changed:
            fields.refuse_taken_label(changed["label"])
        if secrets is not None:
            credentials.replace(row.id, secrets, actor=actor)
        if not changed and "config" in values and row.mount:
            changed["mount"], before["mount"] = "", row.mount
        if not changed and secrets is None:
            return row
        detail = {"before": _for_audit(before), "after": _for_audit(changed), "secret": secrets is not None}
        if {"provider", "config"} & changed.keys():
            changed["mount"] = ""
        if {"provider", "config", "prefix", "mount"} & changed.keys() or secrets is not None:
            changed |= UNTESTED
        Storage.update(**changed, modified=now()).where(Storage.id == row.id).execute()
        audit.record(actor, "storage:changed", "storage", row.id, **detail)
    return by_id(row.id)


def remove(label: str, *, actor: Actor) -> None:
    """Remove a storage and its credentials; its objects stay there. Raises Busy while a job uses it."""
    rights.require_admin(actor)
    with writing():
        row = get(label)
        for job in active_jobs(row):
            message = f"Job {job.id} uses {row.label} ({KINDS[job.kind].label.lower()}, {job.state})."
            raise Busy(f"{message} Cancel it or wait until it ends, then remove the storage.")
        credentials.delete(row.id)
        row.delete_instance()
        audit.record(actor, "storage:removed", "storage", row.id, label=row.label, provider=row.provider)


def get(label: str) -> Storage:
    """Raises Missing."""
    row = Storage.get_or_none(Storage.label == labels.clean(label)) if label.strip() else None
    if row is None:
        raise Missing(f"There is no storage {label[: labels.MAX_LABEL_LENGTH]!r}.", field="to")
    return row


def by_id(storage_id: int) -> Storage:
    """Raises Missing."""
    row = Storage.get_or_none(Storage.id == storage_id)
    if row is None:
        raise Missing("The storage has been removed.")
    return row


def list_all() -> Sequence[Storage]:
    """All storages in the order of their labels."""
    return builtins.list(Storage.select().order_by(Storage.label))


def view(row: Storage) -> dict[str, Any]:
    """The storage as pages and `--json` show it; never a secret."""
    return {
        "id": row.id,
        "label": row.label,
        "provider": row.provider,
        "provider_label": providers.PROVIDERS[row.provider].label,
        "path": row.config.get("path", ""),
        "place": providers.PROVIDERS[row.provider].describe(row.config),
        "config": row.config,
        "prefix": row.prefix,
        "prefix_locked": row.prefix_locked,
        "mode": row.mode,
        "visible": row.visible,
        "threads": row.threads,
        "state": row.state,
        "since": row.since,
        "message": row.message,
        "tested": row.tested,
        "create_only": row.create_only,
        "created": row.created,
        "modified": row.modified,
    }


def request_test(label: str, *, actor: Actor) -> int:
    """Enqueue a test of the storage; returns the id of the job, whose result has the steps."""
    rights.require_admin(actor)
    with writing():
        row = get(label)
        job = jobs.create("storage_test", actor=actor, params={"storage": row.id}, what=row.label)
        audit.record(actor, "storage:tested", "storage", row.id, job=job.id)
    jobs.enqueue(job)
    return int(job.id)


def record_test(
    storage_id: int, *, state: str, message: str, create_only: bool | None = None, mount: str | None = None
) -> None:
    """Record how the last test ended; `since` is when the state changed.

    `create_only` or `mount` None: not found out, and therefore not changed.
    """
    with writing():
        row = Storage.get_or_none(Storage.id == storage_id)
        if row is None:
            return
        since = row.since if row.state == state else now()
        findings = {"create_only": create_only, "mount": mount}
        findings = {name: value for name, value in findings.items() if value is not None}
        Storage.update(state=state, since=since, message=message, tested=now(), **findings).where(
            Storage.id == storage_id
        ).execute()


def untested_since(moment: datetime) -> Sequence[Storage]:
    """Storages that were tested, but not since then, and that no job uses now."""
    rows = builtins.list(Storage.select().where(Storage.tested < moment))
    active = {job.storage for job in active_jobs()} if rows else set()
    return [row for row in rows if row.id not in active]


def lock_place(row: Storage) -> None:
    """From now on there are exported objects: its path and prefix cannot change."""
    if not row.prefix_locked:
        with writing():
            Storage.update(prefix_locked=True).where(Storage.id == row.id).execute()


def require_export(row: Storage, group: str, project: str) -> None:
    """Raise NotAllowed unless this project may be exported to the storage."""
    if row.mode == "import":
        raise NotAllowed(f"{row.label} is for import only. Change its mode, or choose another storage.", field="to")
    if row.visible not in ("site", f"group:{group}", f"project:{group}/{project}"):
        raise NotAllowed(f"{row.label} is visible only to {row.visible}. Choose another storage.", field="to")


def require_import(row: Storage, group: str, project: str) -> None:
    """Raise NotAllowed unless this project may import from the storage."""
    if row.mode == "export":
        raise NotAllowed(f"{row.label} is for export only. Change its mode, or choose another storage.", field="of")
    if row.visible not in ("site", f"group:{group}", f"project:{group}/{project}"):
        raise NotAllowed(
            f"{row.label} is visible only to {row.visible}. Choose another storage or project.", field="to"
        )


def active_jobs(row: Storage | None = None) -> Sequence[Job]:
    """Waiting and running jobs that use this storage, or any."""
    active = Job.select().where(Job.state.in_(ACTIVE_STATES), Job.storage.is_null(False))
    return builtins.list(active if row is None else active.where(Job.storage == row.id))


def threads(row: Storage) -> int:
    """How many objects, or parts of large ones, the storage gets at once."""
    return int(row.threads or site_settings.get("exports.threads"))


def open(row: Storage) -> "Destination":
    """The storage, ready for use. Raises BadValue where the site no longer allows its place, Damaged for its secret."""
    return providers.open_destination(row, credentials.reveal(row), threads=threads(row))


def _refuse_locked(row: Storage, changed: dict[str, Any]) -> None:
    """Raises NotAllowed where objects were exported: manifests name their keys, and later exports must find them."""
    for field in _moved(row, changed):
        if row.prefix_locked:
            raise NotAllowed(
                f"Objects were exported to {row.label}, so its {field} cannot change. Add a new storage.", field=field
            )
    if {"config", "provider", "prefix"} & changed.keys() and any(active_jobs(row)):
        field = next(iter(_moved(row, changed)), "settings")
        raise Busy(
            f"A job uses {row.label}; its {field} can change when the job has ended or is cancelled.", field=field
        )


def _moved(row: Storage, changed: dict[str, Any]) -> builtins.list[str]:
    """The fields whose change would store objects elsewhere."""
    config: dict[str, Any] = changed.get("config") or row.config
    place = [name for name in providers.get(row.provider).place if config.get(name) != row.config.get(name)]
    return [name for name in ("provider", "prefix") if name in changed] or place


def _for_audit(values: dict[str, Any]) -> dict[str, Any]:
    """For the audit: of a certificate only that it was given."""
    shown = {name: value for name, value in values.items() if name != "ca"}
    if isinstance(shown.get("config"), dict):
        shown["config"] = _for_audit(shown["config"])
    return shown | ({"ca": "given"} if values.get("ca") else {})
