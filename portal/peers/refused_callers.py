"""Refused callers: who was rejected and why, one row for each AE title, address and reason."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from portal.access import audit, readings, rights
from portal.access.actors import Actor
from portal.errors import Missing
from portal.models import Audit, Caller, Peer, Project, figures, now, skip_if_disk_full, writing
from portal.peers import peers, user_identity

Reason = Literal[
    "unknown",
    "called",
    "address",
    "grant",
    "service",
    "destination",
    "disabled",
    "limit",
    "clear",
    "certificate",
    "handshake",
    "identity",
]

MAX_REFUSED_CALLERS = 1000
"""Rows that are kept, so that a caller that tries one title after the other does not fill the disk."""
ASSOCIATION_REASONS: tuple[Reason, ...] = (
    *("unknown", "called", "address", "grant", "disabled", "limit"),
    *("clear", "certificate", "handshake", "identity"),
)
"""Reasons for rejecting a whole association; an accepted one resolves them."""
MAX_AUDITED_REFUSALS = 200
"""Audit entries of one hour, for the same reason."""
IGNORED = "ignored"
REGISTERED = "registered"


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A caller that was refused, with the services that it requested; or several times the same one."""

    calling: str
    called: str
    address: str
    reason: Reason
    message: str
    wanted: frozenset[str] = frozenset()
    count: int = 1

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What tells one row of the list from another one."""
        return self.calling, self.called, self.address, self.reason


def record(
    *, calling: str, called: str, address: str, reason: Reason, message: str, wanted: Iterable[str] = ()
) -> None:
    """Record that a caller was refused, and which services it requested; a known one is only counted.

    An ignored caller stays ignored.
    """
    services = frozenset(wanted)
    record_all(
        [Refusal(calling=calling, called=called, address=address, reason=reason, message=message, wanted=services)]
    )


def record_all(refusals: Sequence[Refusal], *, others: int = 0) -> None:
    """As `record`, for some at once; `others`: so many more, of which nothing but the number is known."""
    for one in {one.address: one for one in refusals if one.reason in ASSOCIATION_REASONS}.values():
        _audit_refusal(calling=one.calling, called=one.called, address=one.address, reason=one.reason)
    with skip_if_disk_full(f"a refused caller at {refusals[0].address}"), writing():
        figures.add_to_hour("refused", sum(one.count for one in refusals) + others)
        are_new = [_count(one) for one in refusals]
        if any(are_new):
            kept = Caller.select(Caller.id).order_by(Caller.last.desc(), Caller.id.desc()).limit(MAX_REFUSED_CALLERS)
            Caller.delete().where(Caller.id.not_in(kept)).execute()


def _count(one: Refusal) -> bool:
    """Add a refusal to its row; whether that is a new one."""
    said = {"calling": one.calling, "called": one.called, "address": one.address, "reason": one.reason}
    row = Caller.get_or_none(**said)
    if row is None:
        Caller.create(**said, message=one.message, wanted=sorted(one.wanted), count=one.count)
        return True
    Caller.update(
        count=Caller.count + one.count,
        last=now(),
        message=one.message,
        decision=IGNORED if row.decision == IGNORED else "",
        wanted=sorted({*row.wanted, *one.wanted}),
        resolved=None,
    ).where(Caller.id == row.id).execute()
    return False


def _audit_refusal(*, calling: str, called: str, address: str, reason: Reason) -> None:
    """An audit entry for the first refusal of an address in each hour; the list of callers has how many there were."""
    hour = now().replace(minute=0, second=0, microsecond=0)
    refusals = Audit.select(Audit.at).where(Audit.action == "association:rejected").order_by(Audit.id.desc())
    last_of_many = refusals.offset(MAX_AUDITED_REFUSALS - 1).first()
    if last_of_many is not None and last_of_many.at >= hour:
        return
    listener = Actor(type="system", name="listener", address=address)
    detail = {"calling": calling, "called": called, "reason": reason}
    readings.record_once_an_hour(listener, "association:rejected", "address", address, **detail)


def resolve(*, calling: str, address: str) -> None:
    """Resolve the refusals of a caller whose association is accepted now."""
    resolved = (
        Caller.calling.in_((calling, ""))  # of a failed TLS handshake no title is known
        & (Caller.address == address)
        & Caller.reason.in_(ASSOCIATION_REASONS)
        & Caller.resolved.is_null()
    )
    if Caller.select().where(resolved).exists():
        with skip_if_disk_full(f"that {address} was accepted"), writing():
            Caller.update(resolved=now()).where(resolved).execute()


def list_all(*, decided: bool = True) -> Sequence[Caller]:
    """Refused callers, the latest first; without `decided`, only those without a decision."""
    rows = Caller.select().order_by(Caller.last.desc(), Caller.id.desc())
    return list(rows if decided else rows.where(Caller.decision == ""))


def get(caller_id: int) -> Caller:
    """Raises Missing."""
    row: Caller | None = Caller.get_or_none(Caller.id == caller_id)
    if row is None:
        raise Missing(f"There is no refused caller {caller_id}.")
    return row


def ignore(caller_id: int, *, actor: Actor) -> Caller:
    """Mark a caller as ignored; further attempts are still counted. Raises Missing."""
    rights.require_admin(actor)
    with writing():
        row = get(caller_id)
        if row.decision != IGNORED:
            Caller.update(decision=IGNORED).where(Caller.id == caller_id).execute()
            audit.record(
                actor,
                "caller:ignored",
                "caller",
                caller_id,
                calling=row.calling,
                address=row.address,
                reason=row.reason,
            )
    return get(caller_id)


def suggested_fields(caller_id: int) -> dict[str, Any]:
    """The fields of `peers.register` that give a refused caller what it requested. Raises Missing."""
    row = get(caller_id)
    project = Project.get_or_none(Project.ae_title == row.called) if row.called else None
    path = f"{project.group.code}/{project.label}" if project else ""
    stores = "store" in row.wanted
    return {
        "label": row.calling.replace("/", "-"),
        "ae_title": row.calling,
        "addresses": (row.address,),
        "services": tuple({"echo": None} | dict.fromkeys(row.wanted)),
        "projects": ((path, "rw" if stores else "ro"),) if path else (),
        "store_to": path if stores else "",
    }


def register(caller_id: int, *, actor: Actor, **fields: Any) -> Peer:
    """Add a refused caller as a peer. `fields`: as `peers.register` takes them.

    Raises Missing, and BadValue or Taken as `peers.register` does.
    """
    rights.require_admin(actor)
    fields = user_identity.with_hash(fields)
    with writing():
        row = get(caller_id)
        peer = peers.register(actor=actor, **fields)
        Caller.update(decision=REGISTERED).where(
            Caller.calling == row.calling, Caller.address == row.address, Caller.reason.in_(("unknown", "address"))
        ).execute()
    return peer


def view(row: Caller) -> dict[str, Any]:
    """The caller as pages and `--json` show it."""
    names = ("id", "calling", "called", "address", "reason", "message", "first", "last", "count", "decision")
    return {name: getattr(row, name) for name in (*names, "wanted", "resolved")}
