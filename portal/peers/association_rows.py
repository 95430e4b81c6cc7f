"""The statements by which associations begin and end: each association of a peer runs them, however short it is."""

from peewee import Value

from portal.models import Association
from portal.models.compiled import Statement, number, text

add = Statement(
    lambda: Association.insert(
        peer=number(0),
        role=text(1),
        calling=text(2),
        called=text(3),
        address=text(4),
        process=text(5),
        contexts=Value(text(6), converter=False),
        started=Value(text(7), converter=False),
        seen=Value(text(7), converter=False),
        tls=Value(number(8), converter=False),
        tls_version=text(9),
    )
)
"""Peer, role, calling and called title, address, process, contexts, when it began, whether with TLS, its version."""
ended = Statement(
    lambda: Association.select(
        Association.peer,
        Association.role,
        Association.calling,
        Association.called,
        Association.address,
        Association.outcome,
        Association.message,
        Association.bytes,
        Association.counts,
    ).where(Association.id == number(0))
)
"""What its audit entry says."""
end = Statement(
    lambda: Association.update(
        counts=Value(text(1), converter=False),
        failures=number(2),
        bytes=number(3),
        seen=Value(text(4), converter=False),
        ended=Value(text(4), converter=False),
        outcome=text(5),
        message=text(6),
    ).where(Association.id == number(0))
)
"""Row, counts, failures, bytes, when it ended, outcome and message."""
