"""DICOM peers: remote application entities that call us, and that we call."""

from collections.abc import Sequence
from typing import Any

from portal import site_settings
from portal.access import audit, rights
from portal.access.actors import Actor
from portal.errors import BadValue, Missing, NotAllowed, Taken
from portal.jobs import jobs
from portal.models import Grant, Group, Peer, Project, now, writing
from portal.peers import peer_fields, peer_status, user_identity
from portal.peers.peer_fields import ANY, SERVICES, TLS_FIELDS, PeerFields
from portal.tls import certificates
from portal.tree import labels

__all__ = ["ANY", "SERVICES"]

_DEFAULTS: dict[str, Any] = {
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
    **peer_fields.DEFAULT_SETTINGS,
}


def register(label: str, *, ae_title: str, actor: Actor, **fields: Any) -> Peer:
    """Add an enabled peer. By default it may echo and has no access to a project.

    `fields`: host and port (where we call it), addresses (CIDR ranges that it may call from; none: any), services,
    projects ((GROUP/PROJECT, ro|rw) in the order of precedence) or all_projects, store_to (GROUP/PROJECT), moves_to
    (labels of peers, or `any`), our_ae_title, tls (TLS only), issuers and pinned (PEM: who vouches for its certificate,
    or the certificate itself), tls_name and tls_any_name (the name that it has when we call it),
    `peer_fields.DEFAULT_SETTINGS`, identity_password. Raises BadValue or Taken with the field.
    """
    rights.require_admin(actor)
    fields = user_identity.with_hash(fields)
    with writing():
        cleaned = peer_fields.clean(_merge(_DEFAULTS, {"label": label, "ae_title": ae_title, **fields}), peer_id=None)
        _refuse_same_caller(cleaned.ae_title, cleaned.addresses, peer_id=None)
        peer = Peer.create(**cleaned.columns, **actor.origin.fields)
        _grant(peer, cleaned)
        audit.record(actor, "peer:registered", "peer", peer.id, after=peer_fields.audited(_fields_of(peer)))
    return peer


def edit(label: str, *, actor: Actor, **changes: Any) -> Peer:
    """Change the fields named in `changes` (as in `register`; `new_label` renames) and no others.

    Applies from the next association. Raises Missing, BadValue or Taken.
    """
    rights.require_admin(actor)
    if "new_label" in changes:
        changes["label"] = changes.pop("new_label")
    changes = user_identity.with_hash(changes)
    with writing():
        peer = get(label)
        before = _fields_of(peer)
        if "all_projects" not in changes and changes.get("projects"):
            changes["all_projects"] = False
        elif changes.get("all_projects") and "projects" not in changes:
            changes["projects"] = ()
        cleaned = peer_fields.clean(_merge({**_DEFAULTS, **before}, changes), peer_id=peer.id)
        if peer.enabled:
            _refuse_same_caller(cleaned.ae_title, cleaned.addresses, peer_id=peer.id)
        Peer.update(**cleaned.columns, modified=now()).where(Peer.id == peer.id).execute()
        peer = Peer.get_by_id(peer.id)
        _grant(peer, cleaned)
        was, now_is = peer_fields.audited(before), peer_fields.audited(_fields_of(peer))
        audit.record(actor, "peer:edited", "peer", peer.id, before=was, after=now_is)
    return peer


def enable(label: str, *, actor: Actor) -> Peer:
    """Accept its associations again. Raises Missing, and Taken if another enabled peer could match the same caller."""
    return _set_enabled(label, True, actor)


def disable(label: str, *, actor: Actor) -> Peer:
    """Reject its further associations; running ones continue. Raises Missing."""
    return _set_enabled(label, False, actor)


def remove(label: str, *, actor: Actor) -> None:
    """Delete a peer and its grants; the objects that it sent, and its associations, stay. Raises Missing."""
    rights.require_admin(actor)
    with writing():
        peer = get(label)
        before = _fields_of(peer)
        Grant.delete().where(Grant.who_type == "peer", Grant.who_id == peer.id).execute()
        for other in Peer.select().where(Peer.id != peer.id):
            if peer.id in other.moves_to:
                kept = [target for target in other.moves_to if target != peer.id]
                Peer.update(moves_to=kept).where(Peer.id == other.id).execute()
        peer.delete_instance()
        audit.record(actor, "peer:removed", "peer", peer.id, before=peer_fields.audited(before))


def get(label: str) -> Peer:
    """With its default project. Raises Missing."""
    peer: Peer | None = _with_default_project().where(Peer.label == label).get_or_none()
    if peer is None:
        raise Missing(f"There is no peer {label[: labels.MAX_LABEL_LENGTH]!r}.", field="label")
    return peer


def by_id(peer_id: int) -> Peer:
    """With its default project. Raises Missing."""
    peer: Peer | None = _with_default_project().where(Peer.id == peer_id).get_or_none()
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
    """The id of the project that has this AE title."""
    project = Project.get_or_none(Project.ae_title == ae_title)
    return None if project is None else int(project.id)


def may_move_to(peer: Peer, destination: Peer) -> bool:
    """Whether a peer may name another one as C-MOVE destination; it may always name itself."""
    return destination.id == peer.id or peer.moves_to == [ANY] or destination.id in peer.moves_to


def our_ae_title(peer: Peer) -> str:
    """Our calling AE title when we call the peer."""
    return str(peer.our_ae_title or site_settings.get("dimse.ae_title"))


def request_echo(label: str, *, actor: Actor) -> int:
    """Enqueue a C-ECHO of the peer; returns the job's id. Raises Missing, and BadValue if the peer has no host."""
    rights.require_admin(actor)
    with writing():
        peer = get(label)
        if not peer.host:
            raise BadValue(f"{peer.label} has no host and port to call. Add them to the peer.", field="host")
        job = jobs.create("echo", actor=actor, params={"peer": peer.id}, what=f"{peer.label} ({peer.ae_title})")
        audit.record(actor, "peer:echoed", "peer", peer.id, job=job.id)
    jobs.enqueue(job)
    return int(job.id)


def require_sendable(label: str) -> Peer:
    """The peer that objects may be sent to. Raises Missing, and NotAllowed if it may not be called now."""
    try:
        peer = get(label)
    except Missing as error:
        raise Missing(error.message, field="to") from error
    if not site_settings.get("dimse.enabled"):
        raise NotAllowed("The DIMSE service is off, so nothing is sent to peers. Enable it in Settings.", field="to")
    if not peer.enabled:
        raise NotAllowed(f"{peer.label} is disabled. Enable it, or choose another destination.", field="to")
    if not peer.host:
        raise NotAllowed(f"{peer.label} has no host and port to call. Add them to the peer.", field="to")
    return peer


def sendable_labels() -> Sequence[str]:
    """Labels of the peers that objects may be sent to; none while the DIMSE service is disabled."""
    if not site_settings.get("dimse.enabled"):
        return ()
    rows = Peer.select(Peer.label).where(Peer.enabled, Peer.host != "").order_by(Peer.label)
    return [row.label for row in rows]


def record_echo(peer_id: int, *, ok: bool, message: str) -> None:
    """Write how our last C-ECHO of a peer ended; `since` is when it first ended this way."""
    state = "ok" if ok else "failed"
    with writing():
        peer = Peer.get_or_none(Peer.id == peer_id)
        if peer is None:
            return
        since = peer.since if peer.state == state else now()
        Peer.update(state=state, since=since, message=message).where(Peer.id == peer_id).execute()


def view(peer: Peer) -> dict[str, Any]:
    """The peer as pages and `--json` show it."""
    fields = _fields_of(peer)
    return {
        "id": peer.id,
        **fields,
        "projects": [{"project": path, "role": role} for path, role in fields["projects"]],
        **{name: certificates.views(fields[name]) for name in ("issuers", "pinned")},
        "enabled": peer.enabled,
        "state": peer.state,
        "since": peer.since,
        "message": peer.message,
        "last_seen": peer.last_seen,
        "last_answered": peer.last_answered,
        "silent": peer_status.is_silent(peer),
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
            _refuse_same_caller(peer.ae_title, peer.addresses, peer_id=peer.id)
        Peer.update(enabled=enabled, modified=now()).where(Peer.id == peer.id).execute()
        audit.record(actor, "peer:enabled" if enabled else "peer:disabled", "peer", peer.id, label=label)
    return by_id(peer.id)


def _merge(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    if unknown := changes.keys() - _DEFAULTS.keys():
        raise TypeError(f"a peer has no {', '.join(sorted(unknown))}")
    return {**values, **changes}


def _refuse_same_caller(ae_title: str, addresses: Sequence[str], *, peer_id: int | None) -> None:
    """One caller is one peer: peers with the same title must have addresses that do not overlap."""
    for other in Peer.select().where(Peer.ae_title == ae_title, Peer.enabled, Peer.id != peer_id):
        if peer_fields.overlap(addresses, other.addresses):
            message = (
                f"{other.label} has the AE title {ae_title} too, and an association could come from either. "
                "Give each of them addresses that the other does not have."
            )
            raise Taken(message, field="addresses")


def _grant(peer: Peer, fields: PeerFields) -> None:
    """Replace the grants, in their order. `store_to` gives the right to store to that project, but not to read it."""
    Grant.delete().where(Grant.who_type == "peer", Grant.who_id == peer.id).execute()
    wanted: list[tuple[Project | None, str]] = [(None, "ro")] if fields.all_projects else list(fields.grants)
    target = fields.store_to
    if target is not None and not any(project == target and role == "rw" for project, role in wanted):
        wanted.append((target, "store"))
    for project, role in wanted:
        Grant.create(who_type="peer", who_id=peer.id, project=project, role=role)


def _fields_of(peer: Peer) -> dict[str, Any]:
    """The peer's fields, as `register` and `edit` take them."""
    grants = (
        Grant.select(Grant, Project, Group)
        .left_outer_join(Project)
        .left_outer_join(Group)
        .where(Grant.who_type == "peer", Grant.who_id == peer.id, Grant.role != "store")
        .order_by(Grant.id)
    )
    projects: list[list[str]] = []
    all_projects = False
    for grant in grants:
        if grant.project is None:
            all_projects = True
        else:
            projects.append([f"{grant.project.group.code}/{grant.project.label}", grant.role])

    moves_to, target = list(peer.moves_to), peer.store_to
    if moves_to and moves_to != [ANY]:
        labels_by_id = {row.id: row.label for row in Peer.select(Peer.id, Peer.label).where(Peer.id.in_(moves_to))}
        moves_to = [labels_by_id[peer_id] for peer_id in moves_to if peer_id in labels_by_id]

    return {
        "label": peer.label,
        "ae_title": peer.ae_title,
        "our_ae_title": peer.our_ae_title,
        "host": peer.host,
        "port": peer.port,
        "addresses": list(peer.addresses),
        "services": list(peer.services),
        "projects": projects,
        "all_projects": all_projects,
        "store_to": f"{target.group.code}/{target.label}" if target else None,
        "moves_to": moves_to,
        **{name: getattr(peer, name) for name in TLS_FIELDS},
        **peer_fields.settings_of(peer),
    }


def _with_default_project() -> Any:
    return Peer.select(Peer, Project, Group).left_outer_join(Project).left_outer_join(Group)
