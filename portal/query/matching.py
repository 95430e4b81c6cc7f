"""The kind of matching that a key requests (PS3.4 C.2.2.2), by its VR and value."""

import re
from dataclasses import dataclass

from portal.dicom import person_names
from portal.dicom.query_attributes import MODALITIES_IN_STUDY, SOP_CLASSES_IN_STUDY, Attribute
from portal.errors import BadIdentifier
from portal.models import row_functions, visibility
from portal.models.conditions import (
    EMPTY,
    AnyOf,
    Condition,
    Dates,
    Like,
    Number,
    OneOf,
    PersonName,
    Prepared,
    Time,
    Times,
    fuzzy_name,
)
from portal.query.options import BASELINE, QueryOptions

WILD_CARD_VRS = frozenset({"AE", "CS", "LO", "LT", "SH", "ST", "UC", "UR", "UT"})
"""PS3.4 C.2.2.2.4; PN has its own rule."""
MAX_KEY_LENGTH = 2048
"""Characters of a key that is no list of UIDs. The work of matching grows with it, and no listed value is as long."""
_WILD = re.compile(r"[*?]")
_NUMBER = re.compile(r"[+-]?[0-9]{1,12}")
QUOTATION_MARKS = ('""',)
"""The values of a key that asks for what has no value (PS3.4 C.2.2.2.7)."""
_OLD_DATE = re.compile(r"(\d{4})\.(\d\d)\.(\d\d)")


@dataclass(frozen=True)
class Criterion:
    """A condition on the column of one attribute."""

    attribute: Attribute
    condition: Condition


def criteria(attribute: Attribute, values: tuple[str, ...], options: QueryOptions) -> tuple[Criterion, ...]:
    """What the values require of the attribute, all of it; nothing for universal matching."""
    if attribute is MODALITIES_IN_STUDY and options.multiple_values and len(values) > 1:  # PS3.4 C.2.2.2.8
        each = (criterion(attribute, (value,), options) for value in dict.fromkeys(values) if value)
        return tuple(found for found in each if found)
    one = criterion(attribute, values, options)
    return (one,) if one else ()


def criterion(attribute: Attribute, values: tuple[str, ...], options: QueryOptions = BASELINE) -> Criterion | None:
    """What the values require of the attribute; None for universal matching, which also finds empty values."""
    if not any(values) or values == ("*",) or (attribute.vr == "PN" and not "".join(values).strip("^= ")):
        return None
    if options.empty_values and values == QUOTATION_MARKS:
        return Criterion(attribute, EMPTY)
    if attribute.vr == "UI":
        listed = OneOf(tuple(value for value in values if value))
        is_of_study = attribute is SOP_CLASSES_IN_STUDY  # which is kept with each instance
        return Criterion(attribute, visibility.below([("instance", "sop_class", listed)]) if is_of_study else listed)
    if sum(map(len, values)) > MAX_KEY_LENGTH:
        raise BadIdentifier(f"A key has more than {MAX_KEY_LENGTH:,} characters.")
    if attribute is MODALITIES_IN_STUDY:
        exact = tuple(value for value in values if value and not is_wild(value))
        patterns = tuple(Like(value) for value in dict.fromkeys(values) if is_wild(value))
        return Criterion(attribute, AnyOf(((OneOf(exact),) if exact else ()) + patterns))

    # Several values of another VR are one value with backslashes in it: none of these attributes can have several.
    value = "\\".join(values)
    condition: Condition
    match attribute.vr:
        case "DA":
            condition = _date(value)
        case "TM":  # PS3.4 C.2.2.2.1 and C.2.2.2.5.2
            first, dash, last = (plain_time(part) for part in value.partition("-"))
            condition = Times(first, last) if dash and (first or last) else Time(plain_time(value))
        case "PN":  # by component group, ignoring case; a key of one group matches any group (PS3.4 C.2.2.2.1)
            groups = person_names.fold(value).split("=")
            if len(groups) == 1 and "=" not in value:
                condition = PersonName((groups[0],), anywhere=True)
            else:
                condition = PersonName(tuple(group or None for group in groups[: person_names.COMPONENT_GROUPS]))
            words = tuple(row_functions.name_words(value)) if options.fuzzy_names else ()
            condition = fuzzy_name(condition, words) if words else condition
        case "IS" | "US":  # at most 32 bits (PS3.5 6.2); nothing equals a value that is no such number
            is_number = _NUMBER.fullmatch(value) and abs(int(value)) < 1 << 32
            condition = Number(int(value)) if is_number else OneOf(())
        case _:
            condition = Like(value) if is_wild(value) else OneOf((value,))
    return Criterion(attribute, condition)


def moments(dates: Condition, times: Condition) -> Prepared | None:
    """A range of dates and one of times as one range of moments; None where one of them is no range."""
    if not isinstance(dates, Dates) or not isinstance(times, Times):
        return None
    return visibility.moments((dates.first, times.first), (dates.last, times.last))


def is_wild(value: str) -> bool:
    return _WILD.search(value) is not None


def _date(value: str) -> Condition:
    """PS3.4 C.2.2.2.1 and C.2.2.2.5.1. Dates of before 1993, with points, mean the same."""
    first, dash, last = (part.strip() for part in value.partition("-"))
    if dash and (first or last):
        return Dates(_plain_date(first), _plain_date(last))
    plain = _plain_date(value)
    return OneOf((plain, f"{plain[:4]}.{plain[4:6]}.{plain[6:]}") if len(plain) == 8 else (plain,))


def _plain_date(text: str) -> str:
    return "".join(found.groups()) if (found := _OLD_DATE.fullmatch(text)) else text


def plain_time(text: str) -> str:
    return text.strip().replace(":", "").replace(".", "")
