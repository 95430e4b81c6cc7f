"""What the archive stores: composite storage SOP Classes of the standard, retired ones too, and transfer syntaxes."""

import re

from pydicom._uid_dict import UID_dictionary

MAX_UID_LENGTH = 64
"""Characters (PS3.5 9.1)."""
PRIVATE_UID = re.compile(r"(?!1\.2\.840\.10008\.)[0-9]+(\.[0-9]+)+")
STANDARD_STORAGE_UID = re.compile(r"1\.2\.840\.10008\.5\.1\.4\.1\.1(\.[0-9]+)+")
"""The root of the storage SOP Classes of the standard, those of later editions too."""

_STORAGE_NAME = re.compile(r"Storage( - .+| SOP Class)?$")
_NOT_ABOUT_PATIENTS = (
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
_OTHER_STANDARDS = ("DICOS", "DICONDE")
"""Security screening and material testing: they share the root."""

_NOT_STORED_SYNTAXES = ("JPIP", "SMPTE", "MIME", "XML", "Papyrus")
"""References to pixels elsewhere, real-time streams, and encodings that are no data sets."""


STORAGE_CLASSES: dict[str, str] = {
    uid: name
    for uid, (name, kind, info, _retired, _word) in UID_dictionary.items()
    if kind == "SOP Class"
    and _STORAGE_NAME.search(name)
    and not any(word in info for word in _OTHER_STANDARDS)
    and not any(word in name for word in _NOT_ABOUT_PATIENTS)
}
"""Storage SOP Class UID → name (PS3.4 B.5, PS3.6 A; retired: US Image 1.2.840.10008.5.1.4.1.1.6 and others)."""

TRANSFER_SYNTAXES: dict[str, str] = {
    uid: name
    for uid, (name, kind, _info, _retired, _word) in UID_dictionary.items()
    if kind == "Transfer Syntax" and not any(word in name for word in _NOT_STORED_SYNTAXES)
}
"""Transfer syntax UID → name, of those in which a data set can be stored."""

VIDEO_SYNTAXES = tuple(f"1.2.840.10008.1.2.4.{number}" for number in range(100, 109))
"""MPEG2, MPEG-4 and HEVC transfer syntaxes: nothing here decodes them."""

LOSSLESS_SYNTAXES = tuple(
    f"1.2.840.10008.1.2.{number}" for number in ("5", "4.57", "4.70", "4.80", "4.90", "4.201", "4.202")
)
"""Compressed transfer syntaxes in which nothing is lost: RLE, JPEG Lossless, JPEG-LS, JPEG 2000 and HTJ2K Lossless."""


def is_storage(uid: str) -> bool:
    """Whether the class may be stored: one of STORAGE_CLASSES, one of a later edition, or a private one.

    Scanners abandon a whole study for one refused class, so unknown ones are accepted. Non-patient classes are not.
    """
    if uid in STORAGE_CLASSES:
        return True
    is_known = uid in UID_dictionary or len(uid) > MAX_UID_LENGTH
    return not is_known and bool(PRIVATE_UID.fullmatch(uid) or STANDARD_STORAGE_UID.fullmatch(uid))


def name(uid: str) -> str:
    """The name of a SOP Class or transfer syntax; the UID where it has none."""
    return UID_dictionary[uid][0] if uid in UID_dictionary else uid
