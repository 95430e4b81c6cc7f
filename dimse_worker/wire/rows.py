"""The rows of associations, written behind them by one thread: many begin and end in one transaction."""

import logging
import threading
from datetime import datetime

from dimse_worker.association_counts import AssociationCounts
from portal import models, runtime
from portal.models import now
from portal.peers import associations
from portal.peers.associations import Closing, Opening, Outcome

log = logging.getLogger(__name__)

BATCH_SECONDS = 0.1
"""How long after a write the next beginning or end may wait for others."""
RETRY_SECONDS = 1.0
"""How long to wait after a write that failed."""
PATIENCE_SECONDS = 30.0
"""How long an association waits for its row before it acknowledges an object or begins a retrieval."""


class Row:
    """The row of one association; it is written a moment after the association has begun."""

    def __init__(self, opening: Opening, counts: AssociationCounts) -> None:
        self.opening, self.counts = opening, counts
        self.written_id: int | None = None
        """None until it is written; 0 if it could not be, because the disk was full."""
        self.outcome: Outcome | None = None
        """None as long as the association runs."""
        self.message = ""
        self.ended: datetime | None = None


class Rows:
    """`run` is the thread that writes; the threads of associations call the rest."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._opened: list[Row] = []
        self._closed: list[Row] = []
        self._waiting = 0
        self._is_stopped = False

    def open(self, opening: Opening, counts: AssociationCounts) -> Row:
        row = Row(opening, counts)
        with self._changed:
            self._opened.append(row)
            self._changed.notify_all()
        return row

    def close(self, row: Row, outcome: Outcome, message: str = "") -> None:
        row.outcome, row.message, row.ended = outcome, message, now()
        with self._changed:
            self._closed.append(row)
            self._changed.notify_all()

    def wait_for_id(self, row: Row) -> int:
        """The row's id, as soon as it is written; 0 if that takes too long."""
        if row.written_id is None:
            with self._changed:
                self._waiting += 1
                self._changed.notify_all()
                self._changed.wait_for(lambda: row.written_id is not None, PATIENCE_SECONDS)
                self._waiting -= 1
        return row.written_id or 0

    def stop(self) -> None:
        """Write what there is, and end the thread."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def run(self) -> None:
        """Write until `stop`. What a busy database refuses is tried again."""
        with runtime.connection():
            pause = 0.0
            while True:
                with self._changed:
                    self._changed.wait_for(self._is_urgent, pause)
                    self._changed.wait_for(lambda: self._opened or self._closed or self._is_stopped)
                    opened, self._opened = self._opened, []
                    closed, self._closed = self._closed, []
                    is_last = self._is_stopped
                pause = BATCH_SECONDS if self._write(opened, closed) else RETRY_SECONDS
                if is_last:
                    return

    def _is_urgent(self) -> bool:
        return self._is_stopped or (self._waiting > 0 and bool(self._opened))

    def _write(self, opened: list[Row], closed: list[Row]) -> bool:
        """Write them; False if the database is busy, so that they are to be written later.

        A row that the database refuses for another reason is given up alone: it must not keep the others from theirs.
        """
        unknown = {row for row in closed if row.written_id is None}.difference(opened)
        closed = [row for row in closed if row not in unknown]
        with self._changed:
            self._closed += unknown  # they wait for their beginning
        try:
            self._write_together(opened, closed)
        except Exception as error:
            if models.is_busy(error):
                log.warning("the rows of %d associations wait: %s", len(opened) + len(closed), error)
                with self._changed:
                    self._opened[:0] = [row for row in opened if row.written_id is None]
                    self._closed[:0] = closed
                return False
            if len(opened) + len(closed) > 1:
                return all([*(self._write([row], []) for row in opened), *(self._write([], [row]) for row in closed)])
            log.exception("the row of an association could not be written")
            for row in opened:
                row.written_id = row.written_id or 0
        with self._changed:
            self._changed.notify_all()
        return True

    def _write_together(self, opened: list[Row], closed: list[Row]) -> None:
        begun = [row for row in opened if row.written_id is None]
        if begun:
            ids = associations.open_all([row.opening for row in begun])
            for row, row_id in zip(begun, ids, strict=True):
                row.written_id = row_id
            with self._changed:
                self._changed.notify_all()
        if closed:
            associations.close_all([_closing(row) for row in closed])


def _closing(row: Row) -> Closing:
    progress = row.counts.progress(row.written_id or 0)
    return Closing(progress=progress, outcome=row.outcome or "aborted", message=row.message, at=row.ended or now())
