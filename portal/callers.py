"""Refused callers: who knocked and was turned away, and why; one row for each title, address and reason."""

from collections.abc import Sequence
from typing import Any, Literal

from portal import audit, hourly, peers, rights
from portal.errors import Missing
from portal.models import Caller, Peer, now, writing
from portal.provenance import Actor

Reason = Literal["unknown", "called", "address", "grant", "service", "destination", "disabled", "limit"]

MOST = 1000
"""Rows that are kept: whoever tries one title after the other fills no disk."""
IGNORED = "ignored"
REGISTERED = "registered"


def refused(*, calling: str, called: str, address: str, reason: Reason, sentence: str) -> None:
    """Keep that a caller was refused. The same one again only counts up; an ignored one stays ignored."""
    with writing():
        hourly.count("refused")
        same = (
            (Caller.calling == calling)
            & (Caller.called == called)
            & (Caller.address == address)
            & (Caller.reason == reason)
        )
        row = Caller.get_or_none(same)
        if row is None:
            Caller.create(calling=calling, called=called, address=address, reason=reason, sentence=sentence)
            _drop_oldest()
            return
        decision = IGNORED if row.decision == IGNORED else ""
        Caller.update(count=Caller.count + 1, last=now(), sentence=sentence, decision=decision).where(same).execute()


def every(*, decided: bool = True) -> Sequence[Caller]:
    """Refused callers, the latest first; without `decided`, only those that nobody has looked at."""
    rows = Caller.select().order_by(Caller.last.desc(), Caller.id.desc())
    return list(rows if decided else rows.where(Caller.decision == ""))


def get(caller_id: int) -> Caller:
    """Raises Missing."""
    row: Caller | None = Caller.get_or_none(Caller.id == caller_id)
    if row is None:
        raise Missing(f"There is no refused caller {caller_id}.")
    return row


def ignore(caller_id: int, *, actor: Actor) -> Caller:
    """Say that a caller is no concern; it is counted on, and shown as ignored. Raises Missing."""
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


def register(caller_id: int, *, label: str = "", actor: Actor) -> Peer:
    """Make a peer of a refused caller: its title, from its address only; it may echo and sees no project.

    Without a label it gets its AE title for one. Raises Missing, BadValue or Taken, as `peers.register` does.
    """
    rights.require_admin(actor)
    with writing():
        row = get(caller_id)
        peer = peers.register(
            label or row.calling.replace("/", "-"), ae_title=row.calling, addresses=(row.address,), actor=actor
        )
        Caller.update(decision=REGISTERED).where(
            Caller.calling == row.calling, Caller.address == row.address, Caller.reason.in_(("unknown", "address"))
        ).execute()
    return peer


def view(row: Caller) -> dict[str, Any]:
    """The caller as pages and `--json` show it."""
    names = ("id", "calling", "called", "address", "reason", "sentence", "first", "last", "count", "decision")
    return {name: getattr(row, name) for name in names}


def _drop_oldest() -> None:
    kept = Caller.select(Caller.id).order_by(Caller.last.desc(), Caller.id.desc()).limit(MOST)
    Caller.delete().where(Caller.id.not_in(kept)).execute()
