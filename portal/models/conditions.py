"""The conditions of key attributes on columns, and their SQL."""

import functools
import json
import operator
import re
from dataclasses import dataclass
from typing import Any, cast

from peewee import OP, SQL, Expression, Field, IntegerField, fn

HIGHEST_CHARACTER = chr(0x10FFFF)
"""Sorts after every character, so `prefix ≤ text < prefix + HIGHEST_CHARACTER` means: begins with the prefix."""
_WILD = re.compile(r"[*?]")


@dataclass(frozen=True)
class OneOf:
    """Equal to one of these; without values never."""

    values: tuple[str, ...]


@dataclass(frozen=True)
class Like:
    """A pattern with the wildcards `*` and `?`; case-sensitive."""

    pattern: str


@dataclass(frozen=True)
class Number:
    """Equal as a number: 7, 07 and +7 are the same."""

    value: int


@dataclass(frozen=True)
class Dates:
    """From one day to another, both included; an empty bound is open. An empty value never matches."""

    first: str
    last: str


@dataclass(frozen=True)
class Times:
    """From one time of day to another, both included; an empty bound is open. An empty value never matches.

    Missing components of the last time include all values: until 0930 includes 09:30:59.
    """

    first: str
    last: str


@dataclass(frozen=True)
class Time:
    """The same time of day, whatever its precision: 2230 is 223000 and 22:30:00."""

    value: str


@dataclass(frozen=True)
class PersonName:
    """A person's name by component group, on a case-folded column. None leaves that group unconstrained.

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
    """A list is passed as one parameter: it may exceed the number of parameters that the database accepts."""
    if len(values) == 1:
        return Expression(field, OP.EQ, values[0])
    return Expression(field, OP.IN, SQL("(SELECT value FROM json_each(?))", [json.dumps(values)]))


def _like(text: Any, pattern: str) -> Expression:
    # SQLite's GLOB has the wildcards of the standard, and `[` besides.
    return Expression(text, "GLOB", pattern.replace("[", "[[]"))


def _starts(field: "Field[Any]", pattern: str) -> list[Any]:
    """The condition that an index can answer: the literal prefix of the pattern, if it has one."""
    prefix = literal_prefix(pattern)
    return [field >= prefix, field < prefix + HIGHEST_CHARACTER] if prefix else []


def literal_prefix(pattern: str) -> str:
    """The characters before the first wildcard."""
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
    """A time without trailing zeros, so that comparing texts compares times."""
    return fn.RTRIM(_digits(field), "0")


def _significant(time: str) -> str:
    return time.rstrip("0")


def _group(field: "Field[Any]", number: int) -> Any:
    """One component group of a name; empty where it is missing."""
    rest: Any = field
    for _ in range(number):
        rest = fn.SUBSTR(rest, fn.INSTR(Expression(rest, OP.CONCAT, "="), "=") + 1)
    return fn.SUBSTR(rest, 1, fn.INSTR(Expression(rest, OP.CONCAT, "="), "=") - 1)


def _alternatives(pattern: str) -> list[str]:
    """The pattern, and its forms without optional empty components, the shortest last: `Doe^*` matches `Doe` too."""
    patterns = [pattern]
    while patterns[-1].endswith("^*"):
        patterns.append(patterns[-1].removesuffix("^*"))
    return patterns


def _in_group(field: "Field[Any]", number: int, pattern: str) -> Expression:
    group = _group(field, number)
    return any_of([_like(group, each) if _WILD.search(each) else group == each for each in _alternatives(pattern)])


def _groups(field: "Field[Any]", groups: tuple[str | None, ...]) -> Expression:
    """Each pattern on its own group, which must not be empty."""
    patterns = [(number, pattern) for number, pattern in enumerate(groups) if pattern]
    expressions = [(_group(field, number) != "") & _in_group(field, number, pattern) for number, pattern in patterns]
    if groups[0]:
        expressions += _starts(field, _alternatives(groups[0])[-1])
    return all_of(expressions)


def _anywhere(field: "Field[Any]", pattern: str) -> Expression:
    alphabetic = all_of([*_starts(field, _alternatives(pattern)[-1]), _in_group(field, 0, pattern)])
    others = any_of([_in_group(field, number, pattern) for number in (1, 2)])
    return any_of([alphabetic, all_of([has_groups(field), others])])


def has_groups(field: "Field[Any]") -> Expression:
    """Whether a name has more than the alphabetic group: the same expression as in the index `study_name_groups`."""
    return Expression(fn.INSTR(field, SQL("'='")), OP.GT, SQL("0"))
