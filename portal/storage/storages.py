"""External storages: places outside that an admin has named, which exports go to and imports come from."""

import builtins
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from portal import site_settings
from portal.access import audit, rights
from portal.access.actors import Actor
from portal.errors import Busy, Missing, NotAllowed
from portal.jobs import jobs
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
    """A new storage; nothing is written there before `request_test`. `config` holds the fields of its provider.

    `threads`: how many objects it gets at once; 0 for as many as the site's settings say.

    Raises BadValue or Taken, with the field; BadValues where several do not fit.
    """
    rights.require_admin(actor)
    given = {"label": label, "mode": mode, "visible": visible, "prefix": prefix, "threads": threads}
    values, secrets = fields.clean_new(provider, config, given, dict(secret or {}))
    with writing():
        fields.refuse_taken_label(values["label"])
        row = Storage.create(**values, **actor.origin.fields)
        credentials.replace(row.id, secrets, actor=actor)
        told = {name: value for name, value in values.items() if name != "config"}
        audit.record(actor, "storage:added", "storage", row.id, **told, **_told(values["config"]))
    return row


def edit(label: str, /, *, secret: Mapping[str, str] | None = None, actor: Actor, **changes: Any) -> Storage:
    """Change label, prefix, mode, visible, provider, or fields of the provider; what is not named stays.

    The secret is asked for again where the provider, its place or its account changes. A folder that is given as it
    was, with nothing else, needs the disk no more that was mounted there. Raises as `add`, and NotAllowed where objects
    of ours lie there.
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
        told = {"before": _told(before), "after": _told(changed), "secret": secrets is not None}
        if {"provider", "config"} & changed.keys():
            changed["mount"] = ""
        if {"provider", "config", "prefix", "mount"} & changed.keys() or secrets is not None:
            changed |= UNTESTED
        Storage.update(**changed, modified=now()).where(Storage.id == row.id).execute()
        audit.record(actor, "storage:changed", "storage", row.id, **told)
    return by_id(row.id)


def remove(label: str, *, actor: Actor) -> None:
    """Forget a storage and its credentials; what lies there stays. Raises Busy while a job of it is not over."""
    rights.require_admin(actor)
    with writing():
        row = get(label)
        for job in active_jobs(row):
            message = f"Job {job.id} works on {row.label} ({jobs.KINDS[job.kind].label.lower()}, {job.state})."
            raise Busy(f"{message} Cancel it or wait for its end, then remove the storage.")
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
    """All storages by their labels."""
    return builtins.list(Storage.select().order_by(Storage.label))


def view(row: Storage) -> dict[str, Any]:
    """The storage as pages and `--json` show it; never a secret."""
    return {
        "id": row.id,
        "label": row.label,
        "provider": row.provider,
        "provider_label": providers.PROVIDERS[row.provider].label,
        "path": row.config.get("path", ""),
        "place": providers.PROVIDERS[row.provider].in_words(row.config),
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
    """Have a worker try the storage step by step; returns the job's number, whose result holds the steps."""
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
    """Keep how the last test ended; `since` tells how long it has been so.

    `create_only` or `mount` None: not found out, so that it stays as it was.
    """
    with writing():
        row = Storage.get_or_none(Storage.id == storage_id)
        if row is None:
            return
        since = row.since if row.state == state else now()
        found = {"create_only": create_only, "mount": mount}
        found = {name: value for name, value in found.items() if value is not None}
        Storage.update(state=state, since=since, message=message, tested=now(), **found).where(
            Storage.id == storage_id
        ).execute()


def untested_since(moment: datetime) -> Sequence[Storage]:
    """Storages that were tried once, but not since then, and that no job tries now."""
    rows = builtins.list(Storage.select().where(Storage.tested < moment))
    active = {job.storage for job in active_jobs()} if rows else set()
    return [row for row in rows if row.id not in active]


def lock_place(row: Storage) -> None:
    """From now on objects of ours lie there: its path and prefix stay."""
    if not row.prefix_locked:
        with writing():
            Storage.update(prefix_locked=True).where(Storage.id == row.id).execute()


def require_export(row: Storage, group: str, project: str) -> None:
    """Raise NotAllowed unless this project may be exported there."""
    if row.mode == "import":
        raise NotAllowed(f"{row.label} is for import only. Change its mode, or choose another storage.", field="to")
    if row.visible not in ("site", f"group:{group}", f"project:{group}/{project}"):
        raise NotAllowed(f"{row.label} is only for {row.visible}. Choose another storage.", field="to")


def require_import(row: Storage, group: str, project: str) -> None:
    """Raise NotAllowed unless what lies there may come into this project."""
    if row.mode == "export":
        raise NotAllowed(f"{row.label} is for export only. Change its mode, or choose another storage.", field="of")
    if row.visible not in ("site", f"group:{group}", f"project:{group}/{project}"):
        raise NotAllowed(f"{row.label} is only for {row.visible}. Choose another storage or project.", field="to")


def active_jobs(row: Storage | None = None) -> Sequence[Job]:
    """Jobs that work on this storage, or on any."""
    active = Job.select().where(Job.state.in_(ACTIVE_STATES), Job.storage.is_null(False))
    return builtins.list(active if row is None else active.where(Job.storage == row.id))


def threads(row: Storage) -> int:
    """How many objects, or parts of large ones, it gets at once."""
    return int(row.threads or site_settings.get("exports.threads"))


def open(row: Storage) -> "Destination":
    """The storage, ready for use. Raises BadValue where the site no longer allows its place, Damaged for its secret."""
    return providers.open_destination(row, credentials.reveal(row), lanes=threads(row))


def _refuse_locked(row: Storage, changed: dict[str, Any]) -> None:
    """Objects of ours lie there: manifests name their keys, and a later export must find them."""
    for field in _moved(row, changed):
        if row.prefix_locked:
            raise NotAllowed(f"Objects were exported to {row.label}, so its {field} stays. Add a new one.", field=field)
    if {"config", "provider", "prefix"} & changed.keys() and any(active_jobs(row)):
        field = next(iter(_moved(row, changed)), "settings")
        raise Busy(f"A job works on {row.label}; its {field} can change when that is over, or cancelled.", field=field)


def _moved(row: Storage, changed: dict[str, Any]) -> builtins.list[str]:
    """The fields that would have objects lie elsewhere."""
    config: dict[str, Any] = changed.get("config") or row.config
    place = [name for name in providers.get(row.provider).place if config.get(name) != row.config.get(name)]
    return [name for name in ("provider", "prefix") if name in changed] or place


def _told(values: dict[str, Any]) -> dict[str, Any]:
    """For the audit: a certificate says only that it was given."""
    told = {name: value for name, value in values.items() if name != "ca"}
    if isinstance(told.get("config"), dict):
        told["config"] = _told(told["config"])
    return told | ({"ca": "given"} if values.get("ca") else {})
