"""When two objects are of the same patient."""

from collections.abc import Mapping
from typing import NamedTuple


class Patient(NamedTuple):
    """A Patient ID and who issued it: the same number of two hospitals is two people."""

    patient_id: str
    issuer: str


def subject_of(patient: Patient, known: Mapping[str, int]) -> int | None:
    """Which of the subjects of a Patient ID, by their issuers, is the patient's; None where none is.

    One without an issuer is the patient's too. A patient without one is of the only subject, and of none of several.
    """
    number = known.get(patient.issuer) or known.get("")
    if number is None and not patient.issuer and len(known) == 1:
        (number,) = known.values()
    return number


def is_same(one: Patient, other: Patient) -> bool:
    """The same Patient ID; an issuer that one of the two leaves out is no contradiction (PS3.3 C.7.1.1)."""
    return one.patient_id == other.patient_id and (one.issuer == other.issuer or not one.issuer or not other.issuer)
