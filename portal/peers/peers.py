"""DICOM peers: remote application entities that may call us, and that we call."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from portal import site_settings
from portal.access import audit, rights
from portal.access.actors import Actor
from portal.errors import BadValue, Missing, NotAllowed, Taken
from portal.jobs import jobs
from portal.models import Grant, Group, Peer, Project, now, writing
from portal.peers import peer_fields
from portal.peers.peer_fields import ANY, SERVICES, PeerFields
from portal.tree import labels

__all__ = ["ANY", "SERVICES"]

SILENT_AFTER = timedelta(hours=24)
"""A peer that has neither called us nor answered us for so long, but did before, is silent."""

_EMPTY: dict[str, Any] = {
    "label": "",
    "ae_title": "",
    "our_ae_title": "",
    "host": "",
    "port": None,
    "addresses": (),
    "services": ("echo",),
    "projects": (),
    "all_projects": False,
    "store_to": None,
    "moves_to": (),
    "tls": False,
}


def register(label: str, *, ae_title: str, actor: Actor, **fields: Any) -> Peer:
    """A new peer, enabled. Without more it may echo and sees no project.

    `fields`: host and port (where we call it), addresses (CIDR ranges that it may call from; none: any), services,
    projects ((GROUP/PROJECT, ro|rw) in the order of precedence) or all_projects, store_to (GROUP/PROJECT), moves_to
    (labels of peers, or `any`), our_ae_title. Raises BadValue or Taken with the field, and then adds nothing.
    """
    rights.require_admin(actor)
    with writing():
        cleaned = peer_fields.clean(_merged(_EMPTY, {"label": label, "ae_title": ae_title, **fields}), peer_id=None)
        _refuse_twins(cleaned.ae_title, cleaned.addresses, peer_id=None)
        peer = Peer.create(**cleaned.columns, **actor.origin.fields)
        _grant(peer, cleaned)
        audit.record(actor, "peer:registered", "peer", peer.id, after=_form(peer))
    return peer


def edit(label: str, *, actor: Actor, **changes: Any) -> Peer:
    """Change what is named in `changes` (as in `register`; `new_label` renames) and leave the rest.

    Acts on the next association. Raises Missing, BadValue or Taken, and then changes nothing.
    """
    rights.require_admin(actor)
    if "new_label" in changes:
        changes["label"] = changes.pop("new_label")
    with writing():
        peer = get(label)
        before = _form(peer)
        if "all_projects" not in changes and changes.get("projects"):
            changes["all_projects"] = False
        elif changes.get("all_projects") and "projects" not in changes:
            changes["projects"] = ()
        cleaned = peer_fields.clean(_merged(before, changes), peer_id=peer.id)
        if peer.enabled:
            _refuse_twins(cleaned.ae_title, cleaned.addresses, peer_id=peer.id)
        Peer.update(**cleaned.columns, modified=now()).where(Peer.id == peer.id).execute()
        peer = Peer.get_by_id(peer.id)
        _grant(peer, cleaned)
        audit.record(actor, "peer:edited", "peer", peer.id, before=before, after=_form(peer))
    return peer


def enable(label: str, *, actor: Actor) -> Peer:
    """Accept its associations again. Raises Missing, and Taken if another peer could match the same caller by now."""
    return _set_enabled(label, True, actor)


def disable(label: str, *, actor: Actor) -> Peer:
    """Reject its next associations; one that runs goes on. Raises Missing."""
    return _set_enabled(label, False, actor)


def remove(label: str, *, actor: Actor) -> None:
    """Forget a peer and its grants; what it sent, and its associations, stay. Raises Missing."""
    rights.require_admin(actor)
    with writing():
        peer = get(label)
        before = _form(peer)
        Grant.delete().where(Grant.who_type == "peer", Grant.who_id == peer.id).execute()
        for other in Peer.select().where(Peer.id != peer.id):
            if peer.id in other.moves_to:
                kept = [target for target in other.moves_to if target != peer.id]
                Peer.update(moves_to=kept).where(Peer.id == other.id).execute()
        peer.delete_instance()
        audit.record(actor, "peer:removed", "peer", peer.id, before=before)


def get(label: str) -> Peer:
    """With the project that it stores to. Raises Missing."""
    peer: Peer | None = _placed().where(Peer.label == label).get_or_none()
    if peer is None:
        raise Missing(f"There is no peer {label[: labels.MAX_LABEL_LENGTH]!r}.", field="label")
    return peer


def by_id(peer_id: int) -> Peer:
    """With the project that it stores to. Raises Missing."""
    peer: Peer | None = _placed().where(Peer.id == peer_id).get_or_none()
    if peer is None:
        raise Missing("The peer has been removed.")
    return peer


def list_all() -> Sequence[Peer]:
    """All peers by their labels."""
    return list(Peer.select().order_by(Peer.label))


def with_ae_title(ae_title: str) -> Sequence[Peer]:
    """The enabled and disabled peers of one AE title, compared exactly."""
    return list(Peer.select().where(Peer.ae_title == ae_title).order_by(Peer.id))


def project_with_ae_title(ae_title: str) -> int | None:
    """The id of the project that has this AE title (design decision 1)."""
    project = Project.get_or_none(Project.ae_title == ae_title)
    return None if project is None else int(project.id)


def may_move_to(peer: Peer, destination: Peer) -> bool:
    """Whether a peer may name another one as move destination; itself always."""
    return destination.id == peer.id or peer.moves_to == [ANY] or destination.id in peer.moves_to


def our_ae_title(peer: Peer) -> str:
    """What we call ourselves towards it."""
    return str(peer.our_ae_title or site_settings.get("dimse.ae_title"))


def request_echo(label: str, *, actor: Actor) -> int:
    """Have a worker call the peer with C-ECHO; returns the job's number. Raises Missing, BadValue without a host."""
    rights.require_admin(actor)
    with writing():
        peer = get(label)
        if not peer.host:
            raise BadValue(f"We do not know where to call {peer.label}. Give it a host and a port.", field="host")
        job = jobs.create("echo", actor=actor, params={"peer": peer.id}, what=f"{peer.label} ({peer.ae_title})")
        audit.record(actor, "peer:echoed", "peer", peer.id, job=job.id)
    jobs.enqueue(job)
    return int(job.id)


def require_sendable(label: str) -> Peer:
    """The peer that objects may be sent to. Raises Missing; NotAllowed where it may not be called now."""
    try:
        peer = get(label)
    except Missing as error:
        raise Missing(error.message, field="to") from error
    if not site_settings.get("dimse.enabled"):
        raise NotAllowed("The DIMSE service is off, so nothing is sent to peers. Turn it on in Settings.", field="to")
    if not peer.enabled:
        raise NotAllowed(f"{peer.label} is disabled. Enable it, or choose another destination.", field="to")
    if not peer.host:
        raise NotAllowed(f"We do not know where to call {peer.label}. Give it a host and a port.", field="to")
    return peer


def sendable_labels() -> Sequence[str]:
    """Labels of the peers that objects may be sent to; none while the DIMSE service is off."""
    if not site_settings.get("dimse.enabled"):
        return ()
    rows = Peer.select(Peer.label).where(Peer.enabled, Peer.host != "").order_by(Peer.label)
    return [row.label for row in rows]


def record_echo(peer_id: int, *, ok: bool, message: str) -> None:
    """Keep how our last call to a peer ended, in a sentence; `since` tells how long it has been so."""
    state = "ok" if ok else "failed"
    with writing():
        peer = Peer.get_or_none(Peer.id == peer_id)
        if peer is None:
            return
        since = peer.since if peer.state == state else now()
        Peer.update(state=state, since=since, message=message).where(Peer.id == peer_id).execute()


def last_contact(peer: Peer) -> datetime | None:
    """When it last gave a sign of life: a call to us that we took, or one of ours that it took."""
    return max(filter(None, (peer.last_seen, peer.last_answered)), default=None)


def is_silent(peer: Peer) -> bool:
    last = last_contact(peer)
    return last is not None and now() - last >= SILENT_AFTER


def view(peer: Peer) -> dict[str, Any]:
    """The peer as pages and `--json` show it."""
    fields = _form(peer)
    return {
        "id": peer.id,
        **fields,
        "projects": [{"project": path, "role": role} for path, role in fields["projects"]],
        "enabled": peer.enabled,
        "state": peer.state,
        "since": peer.since,
        "message": peer.message,
        "last_seen": peer.last_seen,
        "last_answered": peer.last_answered,
        "silent": is_silent(peer),
        "created": peer.created,
        "modified": peer.modified,
    }


def _set_enabled(label: str, enabled: bool, actor: Actor) -> Peer:
    rights.require_admin(actor)
    with writing():
        peer = get(label)
        if peer.enabled == enabled:
            return peer
        if enabled:
            _refuse_twins(peer.ae_title, peer.addresses, peer_id=peer.id)
        Peer.update(enabled=enabled, modified=now()).where(Peer.id == peer.id).execute()
        audit.record(actor, "peer:enabled" if enabled else "peer:disabled", "peer", peer.id, label=label)
    return by_id(peer.id)


def _merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    if unknown := changes.keys() - _EMPTY.keys():
        raise TypeError(f"a peer has no {', '.join(sorted(unknown))}")
    return {**values, **changes}


def _refuse_twins(ae_title: str, addresses: Sequence[str], *, peer_id: int | None) -> None:
    """One caller is one peer (design decision 9): same title means addresses that do not overlap."""
    for other in Peer.select().where(Peer.ae_title == ae_title, Peer.enabled, Peer.id != peer_id):
        if peer_fields.overlap(addresses, other.addresses):
            message = (
                f"{other.label} has the AE title {ae_title} too, and both could be the same caller. "
                "Give each of them addresses that the other one has not."
            )
            raise Taken(message, field="addresses")


def _grant(peer: Peer, fields: PeerFields) -> None:
    """Write the grants anew, in their order. `store_to` brings the right to store there, and nothing to see."""
    Grant.delete().where(Grant.who_type == "peer", Grant.who_id == peer.id).execute()
    wanted: list[tuple[Project | None, str]] = [(None, "ro")] if fields.all_projects else list(fields.grants)
    target = fields.store_to
    if target is not None and not any(project == target and role == "rw" for project, role in wanted):
        wanted.append((target, "store"))
    for project, role in wanted:
        Grant.create(who_type="peer", who_id=peer.id, project=project, role=role)


def _form(peer: Peer) -> dict[str, Any]:
    """The fields as `register` and `edit` take them."""
    granted, target = _grants(peer), peer.store_to
    return {
        "label": peer.label,
        "ae_title": peer.ae_title,
        "our_ae_title": peer.our_ae_title,
        "host": peer.host,
        "port": peer.port,
        "addresses": list(peer.addresses),
        "services": list(peer.services),
        "projects": [[path, role] for path, role in granted if path],
        "all_projects": any(not path for path, _ in granted),
        "store_to": f"{target.group.code}/{target.label}" if target else None,
        "moves_to": _destinations(peer),
        "tls": peer.tls,
    }


def _placed() -> Any:
    return Peer.select(Peer, Project, Group).left_outer_join(Project).left_outer_join(Group)


def _grants(peer: Peer) -> list[tuple[str, str]]:
    """Path and role of each project that it sees, in the order of precedence; an empty path is all of them."""
    rows = (
        Grant.select(Grant, Project, Group)
        .left_outer_join(Project)
        .left_outer_join(Group)
        .where(Grant.who_type == "peer", Grant.who_id == peer.id, Grant.role != "store")
        .order_by(Grant.id)
    )
    return [(f"{row.project.group.code}/{row.project.label}" if row.project else "", row.role) for row in rows]


def _destinations(peer: Peer) -> list[str]:
    if not peer.moves_to or peer.moves_to == [ANY]:
        return list(peer.moves_to)
    names = {row.id: row.label for row in Peer.select(Peer.id, Peer.label).where(Peer.id.in_(peer.moves_to))}
    return [names[target] for target in peer.moves_to if target in names]
