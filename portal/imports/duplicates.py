"""Duplicates and contradictions among the objects of one import, found by their headers in bounded memory."""

import threading

from portal.dicom.header import Header

MAX_HASHES = 500_000
"""Two to four hashes for each object, about 100 bytes each; later objects are not compared."""


class DuplicateTracker:
    """Remembers hashes of UIDs; used by several threads at once."""

    def __init__(self, most: int = MAX_HASHES) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._items: dict[int, int] = {}
        self._owners: dict[int, int] = {}
        self.is_full = False

    def before(self, header: Header, item_id: int) -> int | None:
        """The earlier item with this SOP Instance UID, in the same transfer syntax if there is one; None for the first.

        Hashes may collide: the caller compares the headers.
        """
        uid = header.sop_uid
        with self._lock:
            same_syntax = self._kept(self._items, hash((uid, header.transfer_syntax)), item_id)
            return same_syntax or self._kept(self._items, hash(uid), item_id)

    def alike(self, header: Header, digest: str, item_id: int) -> int | None:
        """The earlier item with the same UID and content; None for the first."""
        with self._lock:
            return self._kept(self._items, hash((header.sop_uid, header.transfer_syntax, digest)), item_id)

    def is_first_at(self, place: str, header: Header, item_id: int) -> bool:
        """Whether no earlier item had this SOP Instance UID in this container."""
        with self._lock:
            return self._kept(self._items, hash((header.sop_uid, place)), item_id) is None

    def disagreement(self, header: Header) -> str:
        """Why this object and an earlier one contradict each other; empty if they do not."""
        study = header.study_uid
        with self._lock:
            # As in `patients.is_same`: an issuer counts only against another one.
            other_patient = self._kept(self._owners, hash(("study", study)), hash(header.patient_id))
            if other_patient is None and header.issuer:
                other_patient = self._kept(self._owners, hash(("issuer", study)), hash(header.issuer))
            if other_patient is not None:
                return "Another object of this import has the same study under another PatientID."
            if self._kept(self._owners, hash(("series", header.series_uid)), hash(study)) is not None:
                return "Another object of this import has the same series in another study."
        return ""

    def _kept(self, known: dict[int, int], key: int, value: int) -> int | None:
        """The value known for a key, if it differs from this one; the first value is remembered."""
        if key not in known and len(known) >= self._most:
            self.is_full = True
            return None
        found = known.setdefault(key, value)
        return None if found == value else found
