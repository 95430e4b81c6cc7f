"""What we store: the composite storage SOP Classes of the standard, retired ones too, and their transfer syntaxes."""

import re

from pydicom._uid_dict import UID_dictionary

PRIVATE_UID = re.compile(r"(?!1\.2\.840\.10008\.)[0-9]+(\.[0-9]+)+")
STANDARD_STORAGE_UID = re.compile(r"1\.2\.840\.10008\.5\.1\.4\.1\.1(\.[0-9]+)+")
"""Storage SOP Classes of the standard lie below this root, those of a later edition too."""

_STORAGE_NAME = re.compile(r"Storage( - .+| SOP Class)?$")
_NO_OBJECT_OF_A_PATIENT = (
    "Commitment",
    "Media Storage Directory",
    "Hanging Protocol",
    "Color Palette",
    "Implant Template",
    "Implant Assembly",
    "Defined Procedure Protocol",
    "Protocol Approval",
    "Inventory",
)
_ELSEWHERE = ("DICOS", "DICONDE")
"""Security screening and material testing: standards of their own that share the root."""

_NO_TRANSFER_SYNTAX_OF_BYTES = ("JPIP", "SMPTE", "MIME", "XML", "Papyrus")
"""References to pixels elsewhere, streams in real time, and encodings of no data set."""


def _is_composite(name: str, kind: str, info: str) -> bool:
    if kind != "SOP Class" or not _STORAGE_NAME.search(name) or any(word in info for word in _ELSEWHERE):
        return False
    return not any(word in name for word in _NO_OBJECT_OF_A_PATIENT)


STORAGE_CLASSES: dict[str, str] = {
    uid: name for uid, (name, kind, info, _retired, _word) in UID_dictionary.items() if _is_composite(name, kind, info)
}
"""Storage SOP Class UID → name (PS3.4 B.5, PS3.6 A; retired: US Image 1.2.840.10008.5.1.4.1.1.6 and others)."""

TRANSFER_SYNTAXES: dict[str, str] = {
    uid: name
    for uid, (name, kind, _info, _retired, _word) in UID_dictionary.items()
    if kind == "Transfer Syntax" and not any(word in name for word in _NO_TRANSFER_SYNTAX_OF_BYTES)
}
"""Transfer syntax UID → name: what a data set may be stored in."""


def is_storage(uid: str) -> bool:
    """Whether a peer that may store may send this class: one of STORAGE, a later edition's or a private one.

    Scanners give up a whole study for one refused class, so an unknown one is kept. Non-patient classes are not.
    """
    if uid in STORAGE_CLASSES:
        return True
    return uid not in UID_dictionary and bool(PRIVATE_UID.fullmatch(uid) or STANDARD_STORAGE_UID.fullmatch(uid))


def name(uid: str) -> str:
    """The name of a SOP Class or transfer syntax, or the UID where it has none."""
    return UID_dictionary[uid][0] if uid in UID_dictionary else uid
