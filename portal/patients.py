"""When two objects are of the same patient."""

from typing import NamedTuple


class Patient(NamedTuple):
    """A Patient ID and who issued it: the same number of two hospitals is two people."""

    patient_id: str
    issuer: str


def is_same(one: Patient, other: Patient) -> bool:
    """The same Patient ID; an issuer that one of the two leaves out is no contradiction (PS3.3 C.7.1.1)."""
    return one.patient_id == other.patient_id and (one.issuer == other.issuer or not one.issuer or not other.issuer)
