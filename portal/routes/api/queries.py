"""Query strings: each parameter once; those that clients send without need are left out."""

from flask import request

from portal.errors import BadValue

IGNORED = frozenset(
    {
        "id",
        "job",
        "level",
        "view",
        "evaluate_gear_rules",
        "exhaustive",
        "include_all_info",
        "include_parent_info",
        "join",
        "join_avatars",
        "join_files",
        "join_keys",
        "permissions",
        "counts",
        "stats",
        "simple",
    }
)
"""What the field's clients send to say how much of a thing to answer: here an answer always has all of it."""


def read() -> dict[str, str]:
    """The parameters of this request. Raises BadValue for a repeated one."""
    parameters = {}
    for name, values in request.args.lists():
        if name in IGNORED or (name == "filter" and values == [""]):
            continue
        if len(values) > 1:
            raise BadValue(f"The parameter {name[:64]} is given twice. Nothing was done.", field=name)
        parameters[name] = values[0]
    return parameters
