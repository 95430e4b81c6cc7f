"""The audit log: each entry by the chain, and the whole log by the anchors outside the database."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from portal.access import audit_anchors, audit_chain
from portal.access.audit_anchors import Anchor
from portal.models import Audit, SiteKey, append_only
from portal.models.compiled import is_one_of, raw_rows
from portal.verification.recorder import Recorder

ENTRIES_AT_ONCE = 1000
ANCHORS_AT_ONCE = 500
DATABASE, ANCHORS = "database", "anchors"
ACCEPTABLE = (DATABASE, ANCHORS)
"""Subjects of findings that an admin can accept."""
RESTORE = "Restore the database from a backup, or keep this one as evidence and find out who had access to this server."
_CHANGED_FILE = "The file audit-anchors.jsonl was changed"
FILE_REMEDY = (
    "Restore it from a backup. If you know why, accept it: portal verify --accept-restore REASON. Otherwise find out "
    "who had access to this server."
)
ACCEPT = (
    "If you restored or rebuilt the database yourself, accept it: portal verify --accept-restore REASON. Otherwise "
    "somebody exchanged it: keep a copy as evidence, and restore the newest backup."
)


def check(recorder: Recorder) -> None:
    """Continue where the last run was. Raises Stopped."""
    position = recorder.state.position
    after, is_end = position.get("after", 0), position.get("is_end", False)
    while not is_end:
        chunk = audit_chain.verify_chunk(after, ENTRIES_AT_ONCE)
        for problem in chunk.problems:
            recorder.find(f"entry {problem.number}", f"{problem.message} {RESTORE}")
        recorder.count("entries", chunk.entries)
        after, is_end = chunk.last, chunk.is_end
        recorder.reached({"after": after, "is_end": is_end}, steps=chunk.entries)
    try:
        contradictions = find_contradictions(recorder)
    except OSError as error:
        recorder.find(ANCHORS, f"The file audit-anchors.jsonl cannot be read: {error.strerror}. {FILE_REMEDY}")
        return
    recorder.count("anchors", contradictions.anchors)
    for subject, message in contradictions.messages():
        recorder.find(subject, message)


@dataclass(kw_only=True)
class Contradictions:
    """What the anchors say against the log, or against each other."""

    anchors: int = 0
    file: list[str] = field(default_factory=list)
    """What is wrong with the file itself."""
    went_back: list[tuple[Anchor, Anchor]] = field(default_factory=list)
    """Two anchors in succession, of which the second one is of a shorter log."""
    lost: Anchor | None = None
    """The last anchor of an entry behind the end of the log."""
    other: Anchor | None = None
    """The first anchor of an entry that is another one now."""
    end: int = 0
    """The number of the last entry now."""
    is_cut: bool = False
    """Whether the database has given higher numbers: then the chain says so already."""
    known: int = 0
    """The place of the last anchor that the database knows."""

    @property
    def first_number(self) -> int:
        """From which entry on the log is not the one that was anchored; 0 where it is."""
        numbers = [second.number + 1 for _first, second in self.went_back]
        numbers += [self.other.number] if self.other else []
        numbers += [self.end + 1] if self.lost else []
        return min(numbers, default=0)

    def messages(self) -> Iterator[tuple[str, str]]:
        """Each as its subject and a message; of those about the log, the one that explains the others."""
        for message in self.file:
            yield ANCHORS, message
        for first, second in self.went_back:
            yield _shortened(first, second.number, f"on {_day(second)}", is_older=second.known < second.place - 1)
        if self.went_back:
            return
        if self.lost and not self.is_cut:
            yield _shortened(self.lost, self.end, "now", is_older=self.known < self.lost.place)
        elif self.other:
            entry = f"Entry {self.other.number:,} is not the one that was its last on {_day(self.other)}."
            yield DATABASE, f"The audit log was exchanged for another one. {entry} {ACCEPT}"


def _shortened(before: Anchor, end: int, moment: str, *, is_older: bool) -> tuple[str, str]:
    entries = f"On {_day(before)} it ended with entry {before.number:,}, and {moment} with entry {end:,}."
    if is_older:
        return DATABASE, f"The database was exchanged for an older copy. {entries} {ACCEPT}"
    return f"entry {end + 1}", f"The last entries of the audit log were removed. {entries} {RESTORE}"


def find_contradictions(recorder: Recorder | None = None) -> Contradictions:
    """Compare all anchors with the log, in constant memory. What an admin accepted is left out."""
    found = Contradictions(known=audit_anchors.known_place())
    # What was accepted with an earlier key cannot be proved any more.
    lines = (anchor for anchor in audit_anchors.read_all() if anchor is not None)
    accepted = [anchor for anchor in lines if anchor.reason == "accepted" and audit_anchors.is_authentic(anchor)]
    accepted_place = max((one.place for one in accepted), default=0)
    chain = _Chain()
    page: list[Anchor] = []
    before: Anchor | None = None
    for anchor in audit_anchors.read_all():
        is_judged = anchor is None or anchor.place > accepted_place
        if message := chain.follow(anchor):
            found.file += [message] if is_judged else []
        if anchor is None or not _is_sound(anchor):
            continue
        found.anchors += 1
        if before and anchor.number < before.number and is_judged and anchor.reason != "accepted":
            found.went_back.append((before, anchor))
        before = anchor
        if not any(one.place > anchor.place and anchor.number >= one.accepts_from > 0 for one in accepted):
            page.append(anchor)
        if len(page) >= ANCHORS_AT_ONCE:
            _compare(page, found)
            page.clear()
            if recorder:
                recorder.rest()
    _compare(page, found)
    if found.known > max(chain.place, accepted_place):
        found.file.append(_missing(chain.place + 1, found.known))
    return found


@dataclass
class _Chain:
    """Follows the file line by line."""

    place: int = 0
    mac: str = audit_anchors.FIRST_PREVIOUS
    own_keys: frozenset[str] = field(default_factory=lambda: _own_keys())

    def follow(self, anchor: Anchor | None) -> str:
        """What is wrong with the next line; empty where nothing is."""
        if anchor is None:  # left unfinished by a power cut, unless a place is missing afterwards
            return ""
        place, mac = self.place, self.mac
        self.place, self.mac = anchor.place, anchor.mac
        if anchor.place > place + 1:
            return _missing(place + 1, anchor.place - 1)
        if anchor.place <= place:
            return f"{_CHANGED_FILE}: line {anchor.place:,} is there twice, or in another place. {FILE_REMEDY}"
        if anchor.key not in self.own_keys:
            return f"{_CHANGED_FILE}: line {anchor.place:,} was written with the key of another site. {FILE_REMEDY}"
        if anchor.previous != mac or not _is_sound(anchor):
            return f"{_CHANGED_FILE}: line {anchor.place:,}, or the one before it, was changed. {FILE_REMEDY}"
        return ""


def _is_sound(anchor: Anchor) -> bool:
    """Whether what it says counts. One of an earlier key is vouched for by the lines that were chained to it since."""
    return anchor.key != audit_anchors.key_name() or audit_anchors.is_authentic(anchor)


def _own_keys() -> frozenset[str]:
    """The key of the site, and those that it had before."""
    return frozenset({audit_anchors.key_name(), *(row.fingerprint[:8] for row in SiteKey.select(SiteKey.fingerprint))})


def _missing(first: int, last: int) -> str:
    lines = f"line {first:,} is missing" if first == last else f"lines {first:,} to {last:,} are missing"
    return f"{_CHANGED_FILE}: {lines}. {FILE_REMEDY}"


def _compare(page: list[Anchor], found: Contradictions) -> None:
    """Compare some anchors with the entries that they name, which were there before them."""
    last = append_only.last_entry()
    found.end, found.is_cut = last.number, last.given > last.number
    numbers = [anchor.number for anchor in page if anchor.number]
    rows = raw_rows(Audit.select(Audit.id, Audit.hash).where(is_one_of(Audit.id, numbers))) if numbers else ()
    hashes = dict(rows)
    for anchor in page:
        if anchor.number > found.end:
            found.lost = anchor
        elif anchor.number and hashes.get(anchor.number, anchor.hash) != anchor.hash:
            found.other = found.other or anchor


def _day(anchor: Anchor) -> str:
    return f"{anchor.moment:%Y-%m-%d %H:%M} UTC"
