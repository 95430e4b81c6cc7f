"""What a query may ask beyond the baseline: by the association's extended negotiation, and by the peer's settings."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class QueryOptions:
    """Each is off unless the requestor has negotiated it (PS3.4 C.5.1.1) or an admin has allowed it to the peer."""

    relational: bool = False
    """Keys of any level, without the unique keys of the levels above (PS3.4 C.4.1.2.2.2)."""
    date_time: bool = False
    """A range of dates and one of times are one range of moments (PS3.4 C.2.2.2.5)."""
    fuzzy_names: bool = False
    """Names also match by words without accents (docs/decisions/0123)."""
    empty_values: bool = False
    """A key of two quotation marks matches what has no value (PS3.4 C.2.2.2.7)."""
    multiple_values: bool = False
    """All values of a key have to match (PS3.4 C.2.2.2.8)."""
    max_answers: int = 0
    """Answers after which a query ends with A700; 0 for no limit."""
    assumed: tuple[str, ...] = ()
    """The character sets of a request that declares none."""
    answered_in: tuple[str, ...] = ()
    """The character sets of answers in place of the request's."""


BASELINE = QueryOptions()
