"""The first steps of a new site: done, waiting, failed, or skipped."""

import hashlib
from dataclasses import dataclass, replace
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
"""How many of the latest associations are searched for a successful operation."""
DONE_TEXTS = {
    "store": "sent objects",
    "get": "retrieved objects",
    "move": "moved objects",
    "find": "searched for studies",
    "echo": "sent a C-ECHO",
}
"""What a peer has done, by operation, the most telling one first."""
NEXT_ACTION_TEXTS = {
    "store": "send a study from it",
    "get": "retrieve a study on it",
    "move": "retrieve a study on it",
    "find": "search for a study on it",
    "echo": "press Verify or Echo on it",
}
"""What to do next at the peer, by its allowed services."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step: its state, a message with the time that belongs to it, and the id of the row that it is about."""

    name: Name
    state: State
    message: str
    moment: datetime | None = None
    row: int | None = None
    unknown_caller: Caller | None = None
    """The latest refused caller that is not registered."""
    is_skipped: bool = False

    @property
    def is_settled(self) -> bool:
        return self.is_skipped or self.state == "done"


@dataclass(frozen=True, kw_only=True)
class Steps:
    """All four steps in order."""

    steps: tuple[Step, ...]
    is_hidden: bool
    ours: tuple[str, str, int]
    """What is configured at the peer: our AE title, address and port."""

    @property
    def done(self) -> int:
        return sum(step.state == "done" for step in self.steps)

    @property
    def is_over(self) -> bool:
        """Whether every step is done or skipped."""
        return all(step.is_settled for step in self.steps)

    @property
    def is_shown(self) -> bool:
        return not (self.is_hidden or self.is_over)

    @property
    def mark(self) -> str:
        """A digest that changes when the page has to change."""
        return hashlib.sha256(repr(self.steps).encode()).hexdigest()[:16]


def overview(options: dict[str, Any]) -> Steps:
    """The steps of a site with these options (`site_settings.get_all`); at most five statements."""
    listener = listener_status.current(options)
    address = (options["dimse.ae_title"], options["dimse.host"], options["dimse.port"])
    if listener.kind == "on":
        message = f"{address[0]} listens on {address[1]}:{address[2]}"
        dimse = Step(name="dimse", state="done", message=message, moment=listener.since)
    elif listener.kind == "off":
        dimse = Step(name="dimse", state="todo", message="Required before scanners and viewers can connect.")
    else:
        state: State = "waiting" if listener.kind == "starting" else "failed"
        dimse = Step(name="dimse", state=state, message=listener.message)

    is_ok = Storage.state.in_(("ok", "degraded"))
    row: Storage | None = Storage.select().order_by(is_ok.desc(), Storage.id.desc()).first()
    if row is None:
        storage = Step(name="storage", state="todo", message="Needed only for copies in external storage.")
    elif row.state in ("ok", "degraded"):
        message = f"{row.label}: the test wrote an object and read it back"
        storage = Step(name="storage", state="done", message=message, moment=row.since, row=row.id)
    elif row.state == "failed":
        storage = Step(name="storage", state="failed", message=f"{row.label}: {row.message}", row=row.id)
    else:
        storage = Step(name="storage", state="waiting", message=f"{row.label} has not been tested yet.", row=row.id)

    skipped = options["first_steps.left"]
    steps = (dimse, _peer(), _key(), storage)
    return Steps(
        steps=tuple(replace(step, is_skipped=step.name in skipped and step.state != "done") for step in steps),
        is_hidden=options["first_steps.hidden"],
        ours=address,
    )


def skip(name: str, *, is_skipped: bool = True, actor: Actor) -> None:
    """Skip a step, or resume it. Raises BadValue."""
    rights.require_admin(actor)
    if name not in site_settings.FIRST_STEPS:
        raise BadValue(f"The first steps are: {', '.join(site_settings.FIRST_STEPS)}.")
    others = [step for step in site_settings.get("first_steps.left") if step != name]
    site_settings.change({"first_steps.left": [*others, name] if is_skipped else others}, actor=actor)


def hide(is_hidden: bool, *, actor: Actor) -> None:
    """Hide the steps on Home, or show them again."""
    rights.require_admin(actor)
    site_settings.change({"first_steps.hidden": is_hidden}, actor=actor)


def _peer() -> Step:
    """Done once a peer has used a service; an echo alone proves no more than that the network works."""
    peer = Peer.select().order_by(Peer.last_seen.desc(), Peer.last_answered.desc(), Peer.id.desc()).first()
    if peer is not None:
        latest = Association.select(Association, Peer).join(Peer).order_by(Association.started.desc())
        latest = latest.limit(ASSOCIATIONS_SEARCHED)
        rows: Any = latest.where(Association.role == "acceptor", Association.failures == 0)
        for row in rows:
            may_only_echo = set(row.peer.services) <= {"echo"}
            done = [operation for operation in DONE_TEXTS if row.counts.get(operation, {}).get("done", 0)]
            if done and (may_only_echo or done != ["echo"]):
                message = f"{row.peer.label} {DONE_TEXTS[done[0]]}"
                return Step(name="peer", state="done", message=message, moment=row.seen, row=row.peer.id)

    unknown = Caller.select().where(Caller.reason == "unknown", Caller.decision == "")
    caller: Caller | None = unknown.order_by(Caller.last.desc()).first()
    if peer is None and caller is None:
        message = "Enter our AE title, host and port at the scanner or viewer, then connect from it."
        return Step(name="peer", state="todo", message=message)
    if peer is None:
        return Step(name="peer", state="waiting", message="An unknown device is calling.", unknown_caller=caller)

    action = next((text for service, text in NEXT_ACTION_TEXTS.items() if service in peer.services), "")
    if peer.last_seen is not None and action:
        message = f"{peer.label} has called. Now {action}."
    elif peer.last_answered is not None:
        message = f"{peer.label} answered our C-ECHO. It has not called yet."
    else:
        message = f"{peer.label} is registered. It has neither called nor answered yet."
    return Step(name="peer", state="waiting", message=message, row=peer.id, unknown_caller=caller)


def _key() -> Step:
    of_device = ApiKey.owner_type.concat("") == "device"  # has SQLite use the index of last_used, not that of owners
    label = Device.select(Device.label).where(Device.id == ApiKey.owner_id)
    keys: Any = ApiKey.select(ApiKey.name, ApiKey.last_used, ApiKey.owner_id, label).where(of_device)
    for name, used, owner, device_label in keys.order_by(ApiKey.last_used.desc(), ApiKey.id.desc()).limit(1).tuples():
        named = f"The key {name} of {device_label}"
        if used is not None:
            return Step(name="key", state="done", message=f"{named} was used", moment=used, row=owner)
        return Step(name="key", state="waiting", message=f"{named} has not been used yet.", row=owner)
    device: Device | None = Device.select().where(Device.removed.is_null()).order_by(Device.id.desc()).first()
    if device is not None:
        message = f"{device.label} has no key yet. Generate one on its page."
        return Step(name="key", state="waiting", message=message, row=device.id)
    return Step(name="key", state="todo", message="For a connector, an importer or a script.")
