"""What the objects of one import are to each other, as far as their headers tell; of the first so many."""

import threading

from portal.dicom.header import Header

MAX_HASHES = 500_000
"""Hashes that are remembered, two to four of each object: some 100 bytes each."""


class DuplicateTracker:
    """Remembers hashes of UIDs, in bounded memory; asked by several threads at once."""

    def __init__(self, most: int = MAX_HASHES) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._items: dict[int, int] = {}
        self._owners: dict[int, int] = {}
        self.is_full = False

    def before(self, header: Header, item_id: int) -> int | None:
        """The item that had this SOP Instance UID before, in the same transfer syntax if one had; None for the first.

        A hash may deceive: look at what that item is.
        """
        uid = header.sop_uid
        with self._lock:
            same_syntax = self._kept(self._items, hash((uid, header.transfer_syntax)), item_id)
            return same_syntax or self._kept(self._items, hash(uid), item_id)

    def alike(self, header: Header, digest: str, item_id: int) -> int | None:
        """The item that had the UID and this content before; None for the first."""
        with self._lock:
            return self._kept(self._items, hash((header.sop_uid, header.transfer_syntax, digest)), item_id)

    def is_first_at(self, place: str, header: Header, item_id: int) -> bool:
        """Whether no item before had this SOP Instance UID at this place."""
        with self._lock:
            return self._kept(self._items, hash((header.sop_uid, place)), item_id) is None

    def disagreement(self, header: Header) -> str:
        """Why this object and one before it cannot both be shown; empty where they can."""
        study = header.study_uid
        with self._lock:
            if self._is_of_another_patient(header):
                return "Another object of this import gives its study to another PatientID."
            if self._kept(self._owners, hash(("series", header.series_uid)), hash(study)) is not None:
                return "Another object of this import gives its series to another study."
        return ""

    def _is_of_another_patient(self, header: Header) -> bool:
        """As `patients.is_same`: an issuer counts only against another one."""
        study = header.study_uid
        if self._kept(self._owners, hash(("study", study)), hash(header.patient_id)) is not None:
            return True
        key = hash(("issuer", study))
        return bool(header.issuer) and self._kept(self._owners, key, hash(header.issuer)) is not None

    def _kept(self, known: dict[int, int], key: int, value: int) -> int | None:
        """What is known for a key where that is something else than this value, which is kept where nothing is."""
        if key not in known and len(known) >= self._most:
            self.is_full = True
            return None
        found = known.setdefault(key, value)
        return None if found == value else found
