"""Refusals of an upload whose record is already in the archive: its container was deleted or moved meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager

from portal.archive import Place
from portal.errors import Missing
from portal.ingest.register import Arrival
from portal.models import PurgedRecord, arrivals, writing


@contextmanager
def writing_rows(arrival: Arrival, place: Place) -> Iterator[None]:
    """The write block for the rows of a record, which begins with a look at the container that the client chose.

    Raises Missing where it is gone. The record is then a purged one: a recovery would create the container again.
    """
    try:
        with writing():
            _require_container(arrival)
            yield
    except Missing:
        with writing():
            fields = {"segment": place.segment, "offset": place.offset, "size": place.size}
            PurgedRecord.insert(fields).on_conflict_ignore().execute()
        raise


def _require_container(arrival: Arrival) -> None:
    kind, number = arrival.container_type, arrival.container_id
    if kind is None or number is None:
        return  # it follows from the header, inside the write block
    if arrivals.project_of(kind, number) != arrival.project_id:
        raise Missing(
            f"The {kind} was deleted or moved while the file arrived. Nothing was kept: send it to another one."
        )
