"""External storages: places outside that an admin has named, which exports go to."""

import builtins
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from portal import audit, jobs, labels, rights
from portal.errors import BadValue, Busy, Missing, NotAllowed, Taken
from portal.models import Group, Job, Project, Secret, Storage, now, writing
from portal.progress import ACTIVE
from portal.provenance import Actor
from portal.storage import keys, providers

if TYPE_CHECKING:
    from portal.storage.destination import Destination

MODES = ("export", "import", "both")
FIELDS = ("label", "mode", "visible", "prefix")


def add(
    label: str,
    provider: str,
    *,
    path: str = "",
    prefix: str = "",
    mode: str = "export",
    visible: str = "site",
    actor: Actor,
) -> Storage:
    """A new storage; nothing is written there before `request_test`. Raises BadValue or Taken, with the field."""
    rights.require_admin(actor)
    config = providers.clean(provider, {"path": path})
    values = {name: _cleaned(name, value) for name, value in zip(FIELDS, (label, mode, visible, prefix), strict=True)}
    with writing():
        _refuse_taken(values["label"])
        row = Storage.create(provider=provider, config=config, **values, **actor.origin.fields)
        audit.record(actor, "storage:added", "storage", row.id, provider=provider, **values, **config)
    return row


def edit(label: str, /, *, actor: Actor, **changes: Any) -> Storage:
    """Change label, path, prefix, mode or visible. Raises as `add`, and NotAllowed where objects of ours lie there."""
    rights.require_admin(actor)
    row = get(label)
    values = {name: _cleaned(name, changes[name]) for name in FIELDS if name in changes}
    if "path" in changes:
        values["config"] = providers.clean(row.provider, {"path": changes["path"]})
    with writing():
        row = get(label)
        before = {name: getattr(row, name) for name in values}
        changed = {name: value for name, value in values.items() if before[name] != value}
        _refuse_locked(row, changed)
        if "label" in changed:
            _refuse_taken(changed["label"])
        if not changed:
            return row
        if "config" in changed or "prefix" in changed:
            changed |= {"state": "untested", "since": None, "sentence": ""}
        Storage.update(**changed, modified=now()).where(Storage.id == row.id).execute()
        audit.record(actor, "storage:changed", "storage", row.id, before=before, after=changed)
    return by_id(row.id)


def remove(label: str, *, actor: Actor) -> None:
    """Forget a storage and its credentials; what lies there stays. Raises Busy while a job of it is not over."""
    rights.require_admin(actor)
    with writing():
        row = get(label)
        for job in _active(row):
            sentence = f"Job {job.id} works on {row.label} ({jobs.KINDS[job.kind].label.lower()}, {job.state})."
            raise Busy(f"{sentence} Cancel it or wait for its end, then remove the storage.")
        Secret.delete().where(Secret.row == f"storage:{row.id}").execute()
        row.delete_instance()
        audit.record(actor, "storage:removed", "storage", row.id, label=row.label, provider=row.provider)


def get(label: str) -> Storage:
    """Raises Missing."""
    row = Storage.get_or_none(Storage.label == labels.clean(label)) if label.strip() else None
    if row is None:
        raise Missing(f"There is no storage {label[: labels.LONGEST]!r}.", field="to")
    return row


def by_id(storage_id: int) -> Storage:
    """Raises Missing."""
    row = Storage.get_or_none(Storage.id == storage_id)
    if row is None:
        raise Missing("The storage has been removed.")
    return row


def every() -> Sequence[Storage]:
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
        "prefix": row.prefix,
        "prefix_locked": row.prefix_locked,
        "mode": row.mode,
        "visible": row.visible,
        "state": row.state,
        "since": row.since,
        "sentence": row.sentence,
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
    jobs.ring(job)
    return int(job.id)


def note(storage_id: int, *, state: str, sentence: str) -> None:
    """Keep how the last test ended; `since` tells how long it has been so."""
    with writing():
        row = Storage.get_or_none(Storage.id == storage_id)
        if row is None:
            return
        since = row.since if row.state == state else now()
        Storage.update(state=state, since=since, sentence=sentence).where(Storage.id == storage_id).execute()


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


def open(row: Storage) -> "Destination":
    """The storage, ready for use. Raises BadValue where the site no longer allows its place."""
    return providers.destination(row)


def _cleaned(name: str, value: Any) -> Any:
    """One field of the form, checked."""
    if name == "label":
        return labels.clean(value)
    if name == "prefix":
        return keys.clean_prefix(value)
    return _mode(value) if name == "mode" else _visible(value)


def _mode(text: str) -> str:
    if text not in MODES:
        raise BadValue(f"{text[:40]!r} is no mode. Choose one of: {', '.join(MODES)}.", field="mode")
    return text


def _visible(text: str) -> str:
    kind, _colon, name = text.partition(":")
    code, _slash, label = name.partition("/")
    if text == "site":
        return text
    if kind == "group" and Group.select().where(Group.code == name).exists():
        return text
    projects = Project.select().join(Group).where(Group.code == code, Project.label == label)
    if kind == "project" and projects.exists():
        return text
    if kind in ("group", "project"):
        raise BadValue(f"There is no {kind} {name[:100]!r} to make it visible to.", field="visible")
    raise BadValue("Visible is one of: site, group:ID, project:GROUP/PROJECT.", field="visible")


def _refuse_taken(label: str) -> None:
    if Storage.select().where(Storage.label == label).exists():
        raise Taken(f"There is a storage {label} already.", field="label")


def _refuse_locked(row: Storage, changed: dict[str, Any]) -> None:
    """Objects of ours lie there: manifests name their keys, and a later export must find them."""
    for name, field in (("config", "path"), ("prefix", "prefix")):
        if name in changed and row.prefix_locked:
            raise NotAllowed(f"Objects were exported to {row.label}, so its {field} stays. Add a new one.", field=field)
        if name in changed and any(_active(row)):
            raise Busy(f"A job works on {row.label}; its {field} can change when that is over.", field=field)


def _active(row: Storage) -> Sequence[Job]:
    active = Job.select().where(Job.state.in_(ACTIVE), Job.kind.in_(("export", "storage_test")))
    return [job for job in active if job.params.get("storage") == row.id]
