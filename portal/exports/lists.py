"""The list of exports."""

from dataclasses import replace

from peewee import fn

from portal.access import permissions, rights
from portal.access.actors import Actor
from portal.errors import NotAllowed
from portal.exports import exports
from portal.jobs.kinds import EXPORT_KINDS
from portal.jobs.lists import OBJECT_JOB_SORTS, SEARCHED_COLUMNS, state_expression, with_wait_reasons
from portal.listing import LongList
from portal.models import Job


def exports_of(actor: Actor) -> LongList:
    """All exports for a site admin; for an admin of projects those of these projects. Raises NotAllowed."""
    of_kind = Job.kind.in_(EXPORT_KINDS)
    if rights.is_site_admin(actor):
        return replace(_EXPORTS, rows=lambda: Job.select().where(of_kind))
    manages = rights.scope(actor).manages
    if not manages:
        raise NotAllowed(permissions.MANAGE.refusal)
    own = fn.json_extract(Job.params, "$.project").in_(manages)
    return replace(_EXPORTS, rows=lambda: Job.select().where(of_kind, own))


_EXPORTS = LongList(
    table=Job,
    rows=Job.select,
    views=lambda rows: with_wait_reasons(exports.views, rows),
    state=state_expression,
    searched=SEARCHED_COLUMNS,
    sorts=OBJECT_JOB_SORTS,
    usual="-number",
    heads=(
        *("Export", "Project", "To", "State", "What happened", "Objects", "Arrived", "Failed", "Bytes"),
        *("Started by", "Asked for", "Ended", "Manifest SHA-256"),
    ),
    cells=lambda row: (
        *(row["id"], row["project"], row["to"], row["state"], row["message"], row["items"], row["arrived"]),
        *(row["failed"], row["bytes"], row["started_by"], row["created"], row["ended"]),
        (row["manifest"] or {}).get("sha256"),
    ),
)
