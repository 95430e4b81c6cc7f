"""The conditions of key attributes on columns, and their SQL.

A condition has a form, which alone determines its SQL, and values, which are only parameters of it: so that the
statement of a form is built once, however many values are searched for.
"""

import json
import operator
import re
from collections.abc import Callable, Iterator
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


@dataclass(frozen=True)
class Prepared:
    """A condition as its form and its values, in the order in which the form names them."""

    form: tuple[Any, ...]
    values: tuple[str | int, ...]


Condition = OneOf | Like | Number | Dates | Times | Time | PersonName | AnyOf | Prepared

EMPTY = Prepared(("empty",), ())
"""Without a value."""


def prepare(condition: Condition) -> Prepared:
    """The form of a condition, and its values."""
    match condition:
        case Prepared():
            return condition
        case OneOf((value,)):
            return Prepared(("equal",), (value,))
        case OneOf(values):
            # A list is passed as one parameter: it may exceed the number of parameters that the database accepts.
            return Prepared(("among",), (json.dumps(values),))
        case Like(pattern):
            bounds = _bounds(literal_prefix(pattern))
            return Prepared(("like", bool(bounds)), (*bounds, _glob(pattern)))
        case Number(value):
            return Prepared(("number",), (value,))
        case Dates(first, last):
            return Prepared(("dates", bool(first), bool(last)), tuple(filter(None, (first, last))))
        case Times(first, last):
            values = ((significant(first),) if first else ()) + ((f"{last}~",) if last else ())
            return Prepared(("times", bool(first), bool(last)), values)
        case Time(value):
            return Prepared(("time",), (significant(value),))
        case PersonName(groups, anywhere):
            return _prepare_name(groups, anywhere=anywhere)
        case AnyOf(conditions):
            prepared = [prepare(each) for each in conditions]
            forms = tuple(each.form for each in prepared)
            return Prepared(("any", *forms), tuple(value for each in prepared for value in each.values))


def fuzzy_name(literal: PersonName, words: tuple[str, ...]) -> Prepared:
    """A person's name as `literal` finds it, or by words: each of them is one of the name's, without accents."""
    exact = prepare(literal)
    return Prepared(("fuzzy", *exact.form), (json.dumps(words, ensure_ascii=False), *exact.values))


def _prepare_name(groups: tuple[str | None, ...], *, anywhere: bool) -> Prepared:
    """The bounds of the first group, then the alternatives of each group, each compared as a pattern or as it is."""
    bounds = _bounds(literal_prefix(_alternatives(groups[0])[-1])) if groups[0] else ()
    form: list[tuple[int, tuple[bool, ...]]] = []
    values: list[str | int] = list(bounds)
    for number, pattern in enumerate(groups):
        if pattern or anywhere:
            alternatives = _alternatives(pattern or "")
            wild = tuple(bool(_WILD.search(each)) for each in alternatives)
            form.append((number, wild))
            values += [_glob(each) if is_wild else each for each, is_wild in zip(alternatives, wild, strict=True)]
    return Prepared(("anywhere" if anywhere else "groups", bool(bounds), tuple(form)), tuple(values))


def expression_for(field: "Field[Any]", condition: Condition) -> Expression:
    """The condition as an expression on a column."""
    prepared = prepare(condition)
    return form_expression(field, prepared.form, iter(prepared.values))


def form_expression(field: "Field[Any]", form: tuple[Any, ...], values: Iterator[Any]) -> Expression:
    """The expression of a form, which takes its values one after the other."""
    match form:
        case ("equal",):
            return Expression(field, OP.EQ, next(values))
        case ("among",):
            return Expression(field, OP.IN, SQL("(SELECT value FROM json_each(?))", [next(values)]))
        case ("like", has_bounds):
            return all_of([*_within(field, values, has_bounds), _like(field, next(values))])
        case ("number",):
            if isinstance(field, IntegerField):
                return Expression(field, OP.EQ, SQL("?", [next(values)]))
            return all_of([field != "", field.cast("INTEGER") == next(values)])
        case ("dates", has_first, has_last):
            bounds = ([field >= next(values)] if has_first else []) + ([field <= next(values)] if has_last else [])
            return all_of([field != "", *bounds])
        case ("times", has_first, has_last):
            lower = [canonical_time(field) >= next(values)] if has_first else []
            return all_of([field != "", *lower, *([digits_of(field) <= next(values)] if has_last else [])])
        case ("time",):
            return all_of([field != "", canonical_time(field) == next(values)])
        case ("groups" | "anywhere" as kind, has_bounds, groups):
            bounds = _within(field, values, has_bounds)
            patterns = [(number, [(is_wild, next(values)) for is_wild in wild]) for number, wild in groups]
            if kind == "anywhere":
                alphabetic = all_of([*bounds, _in_group(field, *patterns[0])])
                others = any_of([_in_group(field, number, patterns[0][1]) for number in (1, 2)])
                return any_of([alphabetic, all_of([has_groups(field), others])])
            return all_of([*((_group(field, each[0]) != "") & _in_group(field, *each) for each in patterns), *bounds])
        case ("fuzzy", *literal):
            alike = fn.NAMES_ALIKE(field, next(values)) == 1
            return any_of([alike, form_expression(field, tuple(literal), values)])
        case ("empty",):
            return field.is_null() if isinstance(field, IntegerField) else Expression(field, OP.EQ, SQL("''"))
        case ("any", *forms):
            return any_of([form_expression(field, each, values) for each in forms])
    raise LookupError(form)


def any_of(expressions: list[Any]) -> Expression:
    return _joined(operator.or_, expressions)


def all_of(expressions: list[Any]) -> Expression:
    return _joined(operator.and_, expressions)


def _joined(join: Callable[[Any, Any], Any], expressions: list[Any]) -> Expression:
    """A balanced tree: databases and Peewee bound its depth, and a list of modalities may be long."""
    if len(expressions) == 1:
        return cast(Expression, expressions[0])
    middle = len(expressions) // 2
    return cast(Expression, join(_joined(join, expressions[:middle]), _joined(join, expressions[middle:])))


def _like(text: Any, pattern: str) -> Expression:
    return Expression(text, "GLOB", pattern)


def _glob(pattern: str) -> str:
    """SQLite's GLOB has the wildcards of the standard, and `[` besides."""
    return pattern.replace("[", "[[]")


def _bounds(prefix: str) -> tuple[str, ...]:
    """The bounds of the texts that begin with a prefix, which an index can answer; none for an empty one."""
    return (prefix, prefix + HIGHEST_CHARACTER) if prefix else ()


def _within(field: "Field[Any]", values: Iterator[Any], has_bounds: bool) -> list[Any]:
    return [field >= next(values), field < next(values)] if has_bounds else []


def literal_prefix(pattern: str) -> str:
    """The characters before the first wildcard."""
    return _WILD.split(pattern)[0]


def digits_of(field: "Field[Any]") -> Any:
    return fn.REPLACE(fn.REPLACE(field, ":", ""), ".", "")


def canonical_time(field: "Field[Any]") -> Any:
    """A time without trailing zeros, so that comparing texts compares times."""
    return fn.RTRIM(digits_of(field), "0")


def significant(time: str) -> str:
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


def _in_group(field: "Field[Any]", number: int, alternatives: list[tuple[bool, Any]]) -> Expression:
    """Whether a group is one of the alternatives, each with a flag that says whether it is a pattern."""
    group = _group(field, number)
    return any_of([_like(group, each) if is_wild else group == each for is_wild, each in alternatives])


def has_groups(field: "Field[Any]") -> Expression:
    """Whether a name has more than the alphabetic group: the same expression as in the index `study_name_groups`."""
    return Expression(fn.INSTR(field, SQL("'='")), OP.GT, SQL("0"))
