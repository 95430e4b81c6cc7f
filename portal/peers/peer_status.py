"""The status of a peer in one word, in Python for one row and in SQL for lists that sort and filter by it."""

from datetime import datetime, timedelta
from typing import Any

from peewee import Case, fn

from portal.models import Peer, now

SILENT_AFTER = timedelta(hours=24)
"""After this long without a contact in either direction, a peer that has had one is silent."""


def current(peer: Peer) -> str:
    """disabled, silent, or how our last call to it ended: ok, failed, unknown (there was none).

    Silent comes before failed, because a failed call is one of the reasons for silence.
    """
    if not peer.enabled:
        return "disabled"
    return "silent" if is_silent(peer) else str(peer.state)


def current_sql() -> Any:
    """`current` as an expression over a row of `Peer`."""
    silent = last_contact_sql() <= Peer.last_seen.db_value(now() - SILENT_AFTER)
    return Case(None, [(~Peer.enabled, "disabled"), (silent, "silent")], Peer.state)


def is_silent(peer: Peer) -> bool:
    contact = last_contact(peer)
    return contact is not None and now() - contact >= SILENT_AFTER


def last_contact(peer: Peer) -> datetime | None:
    """When we last accepted an association of the peer, or it accepted one of ours."""
    return max(filter(None, (peer.last_seen, peer.last_answered)), default=None)


def last_contact_sql() -> Any:
    """`last_contact` as an expression over a row of `Peer`; null if there was none."""
    return fn.NULLIF(fn.MAX(fn.COALESCE(Peer.last_seen, ""), fn.COALESCE(Peer.last_answered, "")), "")
