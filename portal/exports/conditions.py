"""Conditions of an export's rules, in words: `modality is CT or MR`, `series contains localizer`, `file ends .dcm`."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from portal.errors import BadValue
from portal.exports import fields
from portal.exports.fields import FIELDS
from portal.tree.folders import Facts

MAX_CONDITION_LENGTH = 200
"""Characters of one condition."""
MAX_VALUES = 50

Test = Callable[[str], bool]

_WORDS: dict[str, Callable[[str, str], bool]] = {
    "is": lambda text, value: text == value,
    "contains": lambda text, value: value in text,
    "begins": str.startswith,
    "ends": str.endswith,
}
_NOT = {"is not": "is", "does not contain": "contains", "does not begin": "begins", "does not end": "ends"}
_EMPTY = ("is empty", "is not empty")
_ORDER = ("before", "after", "under", "over")
OPERATORS = (*_WORDS, *_NOT, *_EMPTY, *_ORDER)
_ALIASES = {"begins with": "begins", "ends with": "ends", "does not begin with": "does not begin"}
_ALIASES |= {"does not end with": "does not end"}
_HEAD = re.compile(
    "({fields}) +({operators})(?: +|$)".format(
        fields="|".join(sorted((name.replace(" ", "[ _]") for name in FIELDS), key=len, reverse=True)),
        operators="|".join(sorted((*OPERATORS, *_ALIASES), key=len, reverse=True)),
    ),
    re.IGNORECASE,
)
_AND = re.compile(f" +and +(?={_HEAD.pattern})", re.IGNORECASE)
_VALUE = re.compile(r'\s*(?:"([^"]*)"|(.*?))(?:\s+or\s+|\s*$)', re.IGNORECASE)
_UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9}


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One line: parts joined by `and`, each a field and the test of its value."""

    text: str
    parts: tuple[tuple[str, Test], ...]

    def holds(self, facts: Facts) -> bool:
        return all(test(facts.get(name, "")) for name, test in self.parts)


def parse(line: str, *, field: str) -> Condition:
    """Raises BadValue with `field`, the form field that contains the text."""
    text = " ".join(line.split())
    if len(text) > MAX_CONDITION_LENGTH:
        raise BadValue(
            f"A condition has at most {MAX_CONDITION_LENGTH} characters; split {text[:40]!r}… in two.", field=field
        )
    parts = _AND.split(text)
    # The pattern has groups of its own, which split puts between the parts.
    return Condition(text=text, parts=tuple(_part(part, field) for part in parts[:: 1 + _AND.groups]))


def _part(text: str, field: str) -> tuple[str, Test]:
    """The field that a part is about, and the test of its value."""
    found = _HEAD.match(text)
    if found is None:
        words = fields.normalize(text)
        name = max((name for name in FIELDS if f"{words} ".startswith(f"{name} ")), key=len, default="")
        message = f"{text[:80]!r} does not begin with a field. The fields are: {fields.all_names()}."
        if name:
            message = f"After {name} comes one of: {', '.join(OPERATORS)}. {text[:80]!r} has none of them."
        raise BadValue(message, field=field)
    name = fields.normalize(found[1])
    operator = " ".join(found[2].casefold().split())
    operator = _ALIASES.get(operator, operator)
    rest = text[found.end() :]
    # The values between each `or`, without their quotes.
    values = [(match[1] if match[1] is not None else match[2]).strip() for match in _VALUE.finditer(rest) if match[0]]
    if rest.casefold().endswith(" or"):
        values.append("")

    if operator in _EMPTY:
        if values:
            raise BadValue(f"{text[:80]!r} ends with {operator!r}; write nothing after it.", field=field)
        return name, bool if operator == "is not empty" else lambda value: not value
    if not values or not all(values):
        message = f"{text[:80]!r} has no value after {operator!r}. Write one, such as: modality is MR"
        raise BadValue(message, field=field)
    if len(values) > MAX_VALUES:
        raise BadValue(f"A condition has at most {MAX_VALUES} values; split this one in two.", field=field)
    if operator in _ORDER:
        return name, _order_test(name, operator, values, text, field)
    if FIELDS[name] == "size":
        message = f"A size is compared with over or under, such as: size over 10 MB. {text[:80]!r} is not."
        raise BadValue(message, field=field)
    return name, _text_test(name, operator, values)


def _text_test(name: str, operator: str, values: Sequence[str]) -> Test:
    positive = _NOT.get(operator, operator)
    compare = _WORDS[positive]
    wanted = [value.casefold() for value in values]
    if FIELDS[name] == "date":  # a date is recorded without dashes
        wanted = [re.sub(r"^(\d{4})-(\d{2})-(\d{2})$", r"\1\2\3", value) for value in wanted]

    def test(text: str) -> bool:
        folded = text.casefold()
        return any(compare(folded, value) for value in wanted)

    return test if positive == operator else lambda text: not test(text)


def _order_test(name: str, operator: str, values: Sequence[str], text: str, field: str) -> Test:
    kind = FIELDS[name]
    if kind == "text" or len(values) > 1:
        ordered = ", ".join(word for word, is_what in FIELDS.items() if is_what != "text")
        raise BadValue(f"{operator!r} takes one value, of one of: {ordered}. {text[:80]!r} is another.", field=field)
    limit = comparable_number(kind, values[0])
    if limit is None:
        example = {"date": "2026-03-02", "time": "13:30", "size": "10 MB"}.get(kind, "12")
        raise BadValue(f"{values[0][:40]!r} cannot be compared; write it like {example}.", field=field)
    below = operator in ("before", "under")

    def test(value: str) -> bool:
        number = comparable_number(kind, value)
        return number is not None and (number < limit if below else number > limit)

    return test


def comparable_number(kind: str, value: str) -> float | None:
    """The number by which a date, time, size or number is compared; None if it is none."""
    text = value.strip().casefold()
    if kind == "date":
        text = text.replace("-", "")
        return int(text) if re.fullmatch(r"[0-9]{8}", text) else None
    if kind == "time":
        text = text.replace(":", "").partition(".")[0]
        return int(text.ljust(6, "0")) if re.fullmatch(r"[0-9]{4}([0-9]{2})?", text) else None
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?(b|kb|mb|gb)?", text)
    if found is None or (found[2] and kind != "size"):
        return None
    return float(found[1]) * _UNITS.get(found[2] or "b", 1)
