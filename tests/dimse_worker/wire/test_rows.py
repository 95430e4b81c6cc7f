import threading
from collections.abc import Iterator

import pytest

from dimse_worker.association_counts import AssociationCounts
from dimse_worker.wire.rows import Row, Rows
from portal import models
from portal.peers.associations import Opening
from portal.settings import Settings
from tests.fixtures.dimse import rows as rows_of

NO_PEER = 999
"""A number that no peer has, so that the database refuses the row."""


@pytest.fixture
def rows(site: Settings) -> Iterator[Rows]:
    """With its thread; what is left is written at the end."""
    written = Rows()
    thread = threading.Thread(target=written.run)
    thread.start()
    yield written
    written.stop()
    thread.join()


def begin(rows: Rows, calling: str, *, peer_id: int | None = None) -> Row:
    opening = Opening(peer_id=peer_id, role="acceptor", calling=calling, called="US", address="127.0.0.1", contexts=())
    return rows.open(opening, AssociationCounts())


def test_a_row_exists_when_its_number_is_asked_for_and_has_the_last_counts_at_its_end(rows: Rows) -> None:
    row = begin(rows, "CT")
    number = rows.wait_for_id(row)
    assert models.Association.get_by_id(number).outcome == "open"
    row.counts.done("store", "stored", size=7)
    rows.close(row, "released")
    written = until_closed(number)
    assert (written.outcome, written.bytes, written.counts["store"]["stored"]) == ("released", 7, 1)


def until_closed(number: int) -> models.Association:
    for _ in range(500):
        if (row := models.Association.get_by_id(number)).outcome != "open":
            return row
        threading.Event().wait(0.01)
    pytest.fail("it is still open")


def test_a_row_that_the_database_refuses_keeps_no_other_one_from_being_written(rows: Rows) -> None:
    refused = begin(rows, "BAD", peer_id=NO_PEER)
    good = [begin(rows, f"CT{number}") for number in range(5)]
    for row in (refused, *good):
        rows.close(row, "released")
    assert rows.wait_for_id(refused) == 0
    for row in good:
        assert until_closed(rows.wait_for_id(row)).calling == row.opening.calling
    assert len(rows_of(models.Association)) == len(good)
