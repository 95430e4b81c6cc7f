"""`portal rule`: the routing rules, by which what peers send finds its project."""

from collections.abc import Callable
from typing import Any

import click

from portal.access.actors import operator
from portal.cli.context import ROW_ID, on_site
from portal.cli.printing import Answer
from portal.peers import routing_rules


@click.group("rule")
def rule() -> None:
    """Rules that say into which project objects go that a peer sends."""


def _options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that `add` and `set` share."""
    for option in reversed(
        (
            click.option("--to", "project", metavar="GROUP/PROJECT", help="The project that it sends objects to."),
            click.option("--tag", metavar="TAG", help="Instead: the element that holds GROUP/PROJECT."),
            click.option("--peer", metavar="LABEL", help="Only what this peer sends."),
            click.option("--called", metavar="AET", help="Only what is sent to this called AE title."),
            click.option("--modality", metavar="PATTERN", help="The modality. Patterns may contain * and ?."),
            click.option("--description", metavar="PATTERN", help="The study description."),
            click.option("--body-part", metavar="PATTERN", help="The body part examined."),
            click.option("--patient-id", metavar="PATTERN", help="The patient ID."),
            click.option("--position", type=int, metavar="N", help="Its place in the order, from 1."),
        )
    ):
        function = option(function)
    return function


@rule.command("add")
@_options
@on_site
def add(**options: Any) -> Answer:
    """Add a rule. The first enabled one that fits decides."""
    added = routing_rules.add(**options, actor=operator())
    return Answer(view=routing_rules.view(added), message=f"Rule {added.id} added.")


@rule.command("list")
@on_site
def list_() -> Answer:
    """List the rules in the order in which they are asked."""
    return Answer(
        view=routing_rules.views(),
        columns=("position", "id", "enabled", "peer", "called", *routing_rules.PATTERNS, "project", "tag"),
        empty="No routing rules yet. Add one with: portal rule add --to GROUP/PROJECT",
    )


@rule.command("set")
@click.argument("rule_id", metavar="ID", type=ROW_ID)
@_options
@click.option("--enable/--disable", "enabled", default=None, help="Ask this rule, or pass it over.")
@on_site
def set_(rule_id: int, **options: Any) -> Answer:
    """Change the given options of a rule; an empty value fits everything."""
    changes = {name: value for name, value in options.items() if value is not None}
    if not changes:
        raise click.UsageError("Give at least one option to change")
    changed = routing_rules.change(rule_id, **changes, actor=operator())
    return Answer(view=routing_rules.view(changed), message=f"Rule {rule_id} changed. It applies within a second.")


@rule.command("remove")
@click.argument("rule_id", metavar="ID", type=ROW_ID)
@on_site
def remove(rule_id: int) -> Answer:
    """Remove a rule. Objects that it has placed stay where they are."""
    removed = routing_rules.remove(rule_id, actor=operator())
    return Answer(view=removed, message=f"Rule {rule_id} removed.")


commands = (rule,)
