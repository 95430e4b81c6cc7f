"""The first steps of a new site: which have worked, which wait for something, and which are left for later."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from portal import site_settings
from portal.access import rights
from portal.access.actors import Actor
from portal.errors import BadValue
from portal.models import ApiKey, Association, Caller, Device, Peer, Storage
from portal.peers import listener_status

Name = Literal["dimse", "peer", "key", "storage"]
State = Literal["todo", "waiting", "failed", "done"]
ASSOCIATIONS_SEARCHED = 50
"""Associations among which one that did something is looked for."""
DONE_TEXTS = {
    "store": "sent us objects",
    "get": "fetched objects",
    "move": "had objects sent to it",
    "find": "asked for studies",
    "echo": "called us with an echo",
}
"""What a peer did, by its operation, the most telling one first."""
NEXT_ACTION_TEXTS = {
    "store": "send a study from it",
    "get": "fetch a study on it",
    "move": "fetch a study on it",
    "find": "search for a study on it",
    "echo": "press Verify or Echo on it",
}
"""What to do next on the other side, by what the peer may do."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step: how it stands in a sentence, the moment that belongs to it, and the row that it is about."""

    name: Name
    state: State
    message: str
    moment: datetime | None = None
    row: int | None = None
    knocking: Caller | None = None
    """Who called last and was refused because nobody has registered it."""
    is_left: bool = False

    @property
    def is_settled(self) -> bool:
        return self.is_left or self.state == "done"


@dataclass(frozen=True, kw_only=True)
class Steps:
    """All four, in their order."""

    steps: tuple[Step, ...]
    is_hidden: bool
    ours: tuple[str, str, int]
    """What the other side types in: our AE title, address and port."""

    @property
    def done(self) -> int:
        return sum(step.state == "done" for step in self.steps)

    @property
    def is_over(self) -> bool:
        """Nothing more will come: each has worked, or was left."""
        return all(step.is_settled for step in self.steps)

    @property
    def is_shown(self) -> bool:
        return not (self.is_hidden or self.is_over)

    @property
    def mark(self) -> str:
        """Another text as soon as something else is to be shown."""
        return hashlib.sha256(repr(self.steps).encode()).hexdigest()[:16]


def overview(options: dict[str, Any]) -> Steps:
    """How the steps stand on a site with these options (`site.every`); at most five statements."""
    left = options["first_steps.left"]
    steps = (_dimse(options), _peer(), _key(), _storage())
    return Steps(
        steps=tuple(_marked(step, step.name in left) for step in steps),
        is_hidden=options["first_steps.hidden"],
        ours=(options["dimse.ae_title"], options["dimse.host"], options["dimse.port"]),
    )


def skip(name: str, *, is_left: bool = True, actor: Actor) -> None:
    """Leave a step for later, or take it up again. Raises BadValue."""
    rights.require_admin(actor)
    if name not in site_settings.FIRST_STEPS:
        raise BadValue(f"The first steps are: {', '.join(site_settings.FIRST_STEPS)}.")
    others = [step for step in site_settings.get("first_steps.left") if step != name]
    site_settings.change({"first_steps.left": [*others, name] if is_left else others}, actor=actor)


def hide(is_hidden: bool, *, actor: Actor) -> None:
    """Take the steps from the first page, or put them back there."""
    rights.require_admin(actor)
    site_settings.change({"first_steps.hidden": is_hidden}, actor=actor)


def _marked(step: Step, is_left: bool) -> Step:
    return Step(**{**step.__dict__, "is_left": is_left and step.state != "done"})


def _dimse(options: dict[str, Any]) -> Step:
    now = listener_status.current(options)
    if now.kind == "on":
        message = f"{options['dimse.ae_title']} listens on {options['dimse.host']}:{options['dimse.port']}"
        return Step(name="dimse", state="done", message=message, moment=now.since)
    if now.kind == "off":
        return Step(name="dimse", state="todo", message="So that scanners and viewers can call.")
    return Step(name="dimse", state="waiting" if now.kind == "starting" else "failed", message=now.message)


def _peer() -> Step:
    """Done once a peer has done what it may do; a call alone shows no more than that the network works."""
    peer = Peer.select().order_by(Peer.last_seen.desc(), Peer.last_answered.desc(), Peer.id.desc()).first()
    found = None if peer is None else _worked()
    if found is not None:
        worker, moment, did = found
        return Step(name="peer", state="done", message=f"{worker.label} {did}", moment=moment, row=worker.id)
    caller = _knocking()
    if peer is not None:
        return Step(name="peer", state="waiting", message=_heard(peer), row=peer.id, knocking=caller)
    if caller is not None:
        return Step(name="peer", state="waiting", message="Somebody knocks.", knocking=caller)
    return Step(
        name="peer", state="todo", message="Type our AE title, host and port into the machine, and let it call."
    )


def _worked() -> tuple[Peer, datetime, str] | None:
    """The peer that last did something beyond an echo, when, and what it did; an echo where it may do nothing else."""
    latest = (
        Association.select(Association, Peer)
        .join(Peer)
        .order_by(Association.started.desc())
        .limit(ASSOCIATIONS_SEARCHED)
    )
    rows: Any = latest.where(Association.role == "acceptor", Association.failures == 0)
    for row in rows:
        may_only_echo = set(row.peer.services) <= {"echo"}
        done = [operation for operation in DONE_TEXTS if row.counts.get(operation, {}).get("done", 0)]
        if done and (may_only_echo or done != ["echo"]):
            return row.peer, row.seen, DONE_TEXTS[done[0]]
    return None


def _heard(peer: Peer) -> str:
    """What is known of a peer that has done nothing yet, and what comes next."""
    wanted = next((words for service, words in NEXT_ACTION_TEXTS.items() if service in peer.services), "")
    if peer.last_seen is not None and wanted:
        return f"{peer.label} has called. Now {wanted}."
    if peer.last_answered is not None:
        return f"{peer.label} answered our call. It has not called us yet."
    return f"{peer.label} is registered. It has not called yet, nor answered."


def _knocking() -> Caller | None:
    unknown = Caller.select().where(Caller.reason == "unknown", Caller.decision == "")
    found: Caller | None = unknown.order_by(Caller.last.desc()).first()
    return found


def _key() -> Step:
    of_device = ApiKey.owner_type.concat("") == "device"  # so that the index of moments is used, not that of owners
    label = Device.select(Device.label).where(Device.id == ApiKey.owner_id)
    keys: Any = ApiKey.select(ApiKey.name, ApiKey.last_used, ApiKey.owner_id, label).where(of_device)
    for name, used, owner, device_label in keys.order_by(ApiKey.last_used.desc(), ApiKey.id.desc()).limit(1).tuples():
        named = f"The key {name} of {device_label}"
        if used is not None:
            return Step(name="key", state="done", message=f"{named} was used", moment=used, row=owner)
        return Step(name="key", state="waiting", message=f"{named} was not used yet.", row=owner)
    device: Device | None = Device.select().order_by(Device.id.desc()).first()
    if device is not None:
        message = f"{device.label} has no key yet. Generate one on its page."
        return Step(name="key", state="waiting", message=message, row=device.id)
    return Step(name="key", state="todo", message="For a Connector, an importer or a script.")


def _storage() -> Step:
    well = Storage.state.in_(("ok", "degraded"))
    storage: Storage | None = Storage.select().order_by(well.desc(), Storage.id.desc()).first()
    if storage is None:
        return Step(name="storage", state="todo", message="Only if you want copies elsewhere.")
    if storage.state in ("ok", "degraded"):
        message = f"{storage.label}: the test wrote an object and read it back"
        return Step(name="storage", state="done", message=message, moment=storage.since, row=storage.id)
    if storage.state == "failed":
        return Step(name="storage", state="failed", message=f"{storage.label}: {storage.message}", row=storage.id)
    return Step(name="storage", state="waiting", message=f"{storage.label} was not tested yet.", row=storage.id)
