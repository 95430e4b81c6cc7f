"""What a key attribute asks of a column, and how that is said in SQL."""

import functools
import json
import operator
import re
from dataclasses import dataclass
from typing import Any, cast

from peewee import OP, SQL, Expression, Field, IntegerField, fn

HIGHEST_CHARACTER = chr(0x10FFFF)
"""Sorts after every letter, so that `prefix ≤ text < prefix + HIGHEST` means: begins with the prefix."""
_WILD = re.compile(r"[*?]")


@dataclass(frozen=True)
class OneOf:
    """Equal to one of these; to none of no values."""

    values: tuple[str, ...]


@dataclass(frozen=True)
class Like:
    """A pattern in which `*` and `?` are wild and every other sign stands for itself; upper and lower case differ."""

    pattern: str


@dataclass(frozen=True)
class Number:
    """Equal as a number: 7, 07 and +7 are one."""

    value: int


@dataclass(frozen=True)
class Dates:
    """From one day to another, both included; a side that is empty is open. Never an empty value."""

    first: str
    last: str


@dataclass(frozen=True)
class Times:
    """From one time of the day to another, both included; a side that is empty is open. Never an empty value.

    What the last time leaves open counts in full: until 0930 includes 09:30:59.
    """

    first: str
    last: str


@dataclass(frozen=True)
class Time:
    """The same time of the day, however exactly it is written: 2230 is 223000 and 22:30:00."""

    value: str


@dataclass(frozen=True)
class PersonName:
    """A person's name by component group, on a folded column. None asks nothing of that group.

    `anywhere`: the one pattern may match any of the groups.
    """

    groups: tuple[str | None, ...]
    anywhere: bool = False


@dataclass(frozen=True)
class AnyOf:
    """At least one of these."""

    conditions: tuple["OneOf | Like", ...]


Condition = OneOf | Like | Number | Dates | Times | Time | PersonName | AnyOf


def expression_for(field: "Field[Any]", condition: Condition) -> Expression:
    """The condition as an expression on a column."""
    match condition:
        case OneOf(values):
            return one_of(field, values)
        case Like(pattern):
            return all_of([*_starts(field, pattern), _like(field, pattern)])
        case Number(value):
            return _number(field, value)
        case Dates(first, last):
            return _between(field, field, first, field, last)
        case Times(first, last):
            return _between(field, _canonical(field), _significant(first), _digits(field), last and f"{last}~")
        case Time(value):
            return all_of([field != "", _canonical(field) == _significant(value)])
        case PersonName(groups, anywhere):
            return _anywhere(field, groups[0] or "") if anywhere else _groups(field, groups)
        case AnyOf(conditions):
            return any_of([expression_for(field, each) for each in conditions])


def any_of(expressions: list[Any]) -> Expression:
    return cast(Expression, functools.reduce(operator.or_, expressions))


def all_of(expressions: list[Any]) -> Expression:
    return cast(Expression, functools.reduce(operator.and_, expressions))


def one_of(field: "Field[Any]", values: tuple[str, ...]) -> Expression:
    """One value as itself; a list as one parameter, for it may be longer than the database takes parameters."""
    if len(values) == 1:
        return Expression(field, OP.EQ, values[0])
    return Expression(field, OP.IN, SQL("(SELECT value FROM json_each(?))", [json.dumps(values)]))


def _like(text: Any, pattern: str) -> Expression:
    # SQLite's GLOB has the standard's own wild cards, and `[` besides.
    return Expression(text, "GLOB", pattern.replace("[", "[[]"))


def _starts(field: "Field[Any]", pattern: str) -> list[Any]:
    """What an index can find: the letters that the pattern begins with, if it does."""
    prefix = literal_prefix(pattern)
    return [field >= prefix, field < prefix + HIGHEST_CHARACTER] if prefix else []


def literal_prefix(pattern: str) -> str:
    """The letters before the first wild card."""
    return _WILD.split(pattern)[0]


def _number(field: "Field[Any]", value: int) -> Expression:
    if isinstance(field, IntegerField):
        return field == value
    return all_of([field != "", field.cast("INTEGER") == value])


def _between(field: "Field[Any]", lower: Any, first: str, upper: Any, last: str) -> Expression:
    bounds = [field != ""]
    if first:
        bounds.append(lower >= first)
    if last:
        bounds.append(upper <= last)
    return all_of(bounds)


def _digits(field: "Field[Any]") -> Any:
    return fn.REPLACE(fn.REPLACE(field, ":", ""), ".", "")


def _canonical(field: "Field[Any]") -> Any:
    """A time as a fraction of the day: equal, earlier and later are then plain comparisons of text."""
    return fn.RTRIM(_digits(field), "0")


def _significant(time: str) -> str:
    return time.rstrip("0")


def _group(field: "Field[Any]", number: int) -> Any:
    """One component group of a name; empty where there is none."""
    rest: Any = field
    for _ in range(number):
        rest = fn.SUBSTR(rest, fn.INSTR(Expression(rest, OP.CONCAT, "="), "=") + 1)
    return fn.SUBSTR(rest, 1, fn.INSTR(Expression(rest, OP.CONCAT, "="), "=") - 1)


def _alternatives(pattern: str) -> list[str]:
    """The pattern, and what it is without what may be empty in it, the shortest last: `Doe^*` matches `Doe` too."""
    found = [pattern]
    while found[-1].endswith("^*"):
        found.append(found[-1].removesuffix("^*"))
    return found


def _in_group(field: "Field[Any]", number: int, pattern: str) -> Expression:
    group = _group(field, number)
    return any_of([_like(group, each) if _WILD.search(each) else group == each for each in _alternatives(pattern)])


def _groups(field: "Field[Any]", groups: tuple[str | None, ...]) -> Expression:
    """Each pattern on its own group; a pattern asks that there be something in it."""
    asked = [(number, pattern) for number, pattern in enumerate(groups) if pattern]
    found = [(_group(field, number) != "") & _in_group(field, number, pattern) for number, pattern in asked]
    if groups[0]:
        found += _starts(field, _alternatives(groups[0])[-1])
    return all_of(found)


def _anywhere(field: "Field[Any]", pattern: str) -> Expression:
    alphabetic = all_of([*_starts(field, _alternatives(pattern)[-1]), _in_group(field, 0, pattern)])
    others = any_of([_in_group(field, number, pattern) for number in (1, 2)])
    return any_of([alphabetic, all_of([has_groups(field), others])])


def has_groups(field: "Field[Any]") -> Expression:
    """Whether a name has more than the alphabetic group: said as the index `study_name_groups` has it."""
    return Expression(fn.INSTR(field, SQL("'='")), OP.GT, SQL("0"))
