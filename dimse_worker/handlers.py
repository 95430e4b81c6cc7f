"""C-ECHO, C-STORE and C-FIND as pynetdicom's events: thin callers of the domain."""

import time
from collections.abc import Iterator
from typing import Any, cast

from pydicom.dataset import Dataset
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_FIND
from pynetdicom.events import Event

from dimse_worker import contexts, status
from dimse_worker.receiving import ReceivedDataSet
from portal.errors import NotAllowed, NotDicom
from portal.ingest import incoming as ingest
from portal.ingest.placement import Placement
from portal.ingest.register import Stored
from portal.query import find as query
from portal.query import identifiers

MAX_QUEUED_PDUS = 64
"""P-DATA-TFs that wait to be sent: a slow reader is waited for, so that memory does not grow with the answer."""


def echo(event: Event) -> int:
    _acceptor(event).tally.done("echo")
    return status.SUCCESS


def store(event: Event) -> int | Dataset:
    """Answer success only when the instance is durable and indexed (PS3.4 B.2.3)."""
    assoc = _acceptor(event)
    request: Any = event.request
    try:
        stored = _take(assoc.admission, request, event.context)
    except Exception as error:  # noqa: BLE001 (whatever happened, the sender needs a status)
        assoc.tally.failed("store", "refused")
        return status.for_error(error)
    assoc.tally.done("store", "reencoded" if stored.is_reencoded else stored.outcome, size=stored.size)
    return status.SUCCESS


def find(event: Event) -> Iterator[tuple[int | Dataset, Dataset | None]]:
    """Pending with each match; pynetdicom adds the final success. C-CANCEL is looked at before each answer."""
    assoc = _acceptor(event)
    try:
        for match in _matches(event, assoc.admission):
            if event.is_cancelled:
                assoc.tally.failed("find", "cancelled")
                yield status.CANCEL, None
                return
            wait_for_send_queue(assoc)
            yield (status.PENDING_UNMATCHED_KEYS if match.unmatched_keys else status.PENDING), match.identifier
    except Exception as error:  # noqa: BLE001 (whatever happened, the requestor needs a status)
        assoc.tally.failed("find")
        yield status.for_error(error), None
        return
    assoc.tally.done("find")


def wait_for_send_queue(assoc: Association) -> None:
    """Return when what is queued for the peer is short, or nothing can be sent any more."""
    while assoc.dul.to_provider_queue.qsize() > MAX_QUEUED_PDUS and is_open(assoc):
        time.sleep(0.001)


def is_open(assoc: Association) -> bool:
    """Whether an association is still there, as the thread that serves it can see."""
    return assoc.is_established and assoc.dul.is_alive() and not assoc.acse.is_aborted()


def _take(admission: Any, request: Any, context: Any) -> Stored:
    if "store" not in admission.services:
        raise NotAllowed("This peer may not store here.")
    if request.AffectedSOPClassUID != context.abstract_syntax:
        raise NotDicom("The command names another SOP Class than its presentation context.")
    content: ReceivedDataSet = request.DataSet
    with ingest.open(
        scope=admission.scope,
        origin=admission.actor.origin,
        placement=Placement(called_project=admission.project_id, store_to=admission.peer.store_to_id),
        sop_class_uid=str(request.AffectedSOPClassUID),
        sop_instance_uid=str(request.AffectedSOPInstanceUID),
        transfer_syntax_uid=str(context.transfer_syntax),
    ) as incoming:
        for chunk in content.chunks():
            incoming.write(chunk)
        content.close()
        return incoming.commit()


def _matches(event: Event, admission: Any) -> Iterator[query.Match]:
    """What the requestor would retrieve a match from is the title that it called."""
    root = contexts.FIND_ROOTS[event.context.abstract_syntax]
    encoded = cast(C_FIND, event.request).Identifier
    request = identifiers.decode(encoded.getvalue() if encoded else b"", str(event.context.transfer_syntax))
    return query.find(request, admission.scope, root=root, retrieve_ae_title=admission.knock.called)


def _acceptor(event: Event) -> Any:
    """The association: an `acceptor.Acceptor`, which binds these handlers."""
    return event.assoc
