"""Which objects belong to the same patient."""

from collections.abc import Mapping
from typing import NamedTuple


class Patient(NamedTuple):
    """A Patient ID and its issuer: the same number at two hospitals is two people."""

    patient_id: str
    issuer: str


def subject_of(patient: Patient, known: Mapping[str, int]) -> int | None:
    """The patient's subject among those of the Patient ID, given by issuer; None where there is none.

    A subject without an issuer is the patient's too. A patient without an issuer belongs to the only subject, but to
    none of several.
    """
    number = known.get(patient.issuer) or known.get("")
    if number is None and not patient.issuer and len(known) == 1:
        (number,) = known.values()
    return number


def is_same(one: Patient, other: Patient) -> bool:
    """The same Patient ID; an issuer that one of the two leaves out is no contradiction (PS3.3 C.7.1.1)."""
    return one.patient_id == other.patient_id and (one.issuer == other.issuer or not one.issuer or not other.issuer)
