"""The rules of an export: which objects it takes, and with which keys. The first rule that takes an object decides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from portal.errors import BadValue
from portal.exports import conditions, key_template
from portal.exports.conditions import Condition
from portal.exports.key_template import Template
from portal.tree.folders import Facts
from portal.tree.walk import WalkedFile

LEVELS = ("all", "project", "subject", "session", "acquisition")
MAX_RULES = 10
MAX_CONDITIONS = 20
"""Conditions of one rule that include, and as many that exclude."""
WrittenRule = Mapping[str, Any]
"""A rule as a job keeps it: level, include and exclude (lines), path."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    level: str
    include: tuple[Condition, ...]
    """One match is enough; without any condition, everything of that level."""
    exclude: tuple[Condition, ...]
    template: Template

    def takes(self, facts: Facts) -> bool:
        if self.level not in ("all", facts["level"]):
            return False
        return not self.include or any(condition.holds(facts) for condition in self.include)

    def exclusion(self, facts: Facts) -> Condition | None:
        return next((condition for condition in self.exclude if condition.holds(facts)), None)


@dataclass(frozen=True, kw_only=True)
class Rules:
    rules: tuple[Rule, ...]

    @cached_property
    def are_default(self) -> bool:
        """Whether they take everything, each object at its default path."""
        first = self.rules[0]
        return first.level == "all" and not first.include and not first.exclude and first.template.is_default

    @property
    def may_collide(self) -> bool:
        """Whether two objects may get one key: not by the default path alone, which tells equal names apart."""
        return any(not rule.template.is_default for rule in self.rules)

    def place(self, found: WalkedFile) -> tuple[str, str]:
        """The key of an object; or no key, and why no rule takes it."""
        if self.are_default:
            return found.path, ""
        facts = found.facts
        reason = "No rule takes it."
        for number, rule in enumerate(self.rules, 1):
            if not rule.takes(facts):
                continue
            exclusion = rule.exclusion(facts)
            if exclusion is None:
                return (found.path if rule.template.is_default else found.key(rule.template.path(facts))), ""
            reason = f"Rule {number} excludes it: {exclusion.text}"
        return "", reason

    def written(self) -> list[dict[str, Any]]:
        """The rules as they are kept in a job, and as `parse` takes them."""
        return [
            {
                "level": rule.level,
                "include": [condition.text for condition in rule.include],
                "exclude": [condition.text for condition in rule.exclude],
                "path": rule.template.text,
            }
            for rule in self.rules
        ]


def parse(rules: Sequence[WrittenRule]) -> Rules:
    """The rules as they are written; without any: everything, each object at its default path.

    Raises BadValue with the field of the form: `include_2` is that of the second rule.
    """
    if len(rules) > MAX_RULES:
        raise BadValue(f"An export has at most {MAX_RULES} rules.", field=f"level_{MAX_RULES}")
    parsed = []
    for number, rule in enumerate(rules or ({},), 1):
        level = str(rule.get("level") or "all")
        if level not in LEVELS:
            raise BadValue(f"{level[:40]!r} is no level. Choose one of: {', '.join(LEVELS)}.", field=f"level_{number}")
        include = _conditions(rule.get("include") or (), f"include_{number}")
        exclude = _conditions(rule.get("exclude") or (), f"exclude_{number}")
        path = str(rule.get("path") or key_template.DEFAULT_TEMPLATE)
        template = key_template.parse(path, field=f"path_{number}")
        parsed.append(Rule(level=level, include=include, exclude=exclude, template=template))
    return Rules(rules=tuple(parsed))


def _conditions(lines: Any, field: str) -> tuple[Condition, ...]:
    if not isinstance(lines, list | tuple):
        raise BadValue("Conditions are a list of texts, such as: modality is MR", field=field)
    if len(lines) > MAX_CONDITIONS:
        raise BadValue(f"A rule has at most {MAX_CONDITIONS} conditions here.", field=field)
    return tuple(conditions.parse(str(line), field=field) for line in lines)
