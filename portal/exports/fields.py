"""The fields that rules and paths of an export speak of, each by the word that an admin writes."""

from collections.abc import Mapping
from types import MappingProxyType

FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "group": "text",
        "project": "text",
        "subject": "text",
        "patient id": "text",
        "session": "text",
        "study": "text",
        "study uid": "text",
        "accession": "text",
        "date": "date",
        "time": "time",
        "acquisition": "text",
        "series": "text",
        "series uid": "text",
        "series number": "number",
        "modality": "text",
        "body part": "text",
        "file": "text",
        "type": "text",
        "instance": "number",
        "sop uid": "text",
        "origin": "text",
        "level": "text",
        "size": "size",
    }
)
"""Word → kind. `study` and `series` are their descriptions, `origin` is device, user, peer, job or system."""


def normalize(text: str) -> str:
    """A field as somebody wrote it, as it is named here: `patient_id` and `Patient ID` are one."""
    return " ".join(text.replace("_", " ").casefold().split())


def all_names() -> str:
    """All fields, for a sentence."""
    return ", ".join(FIELDS)
