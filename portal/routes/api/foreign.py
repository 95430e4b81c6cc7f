"""/api/jobs, and /api/collections: lists that clients read at every turn, whether or not a site has what they mean."""

from typing import Any

from werkzeug.wrappers import Response

from portal.access import rights
from portal.errors import BadValue
from portal.jobs import jobs
from portal.listing import RowPage
from portal.retrievals import retries
from portal.routes.api import answers, authentication
from portal.routes.api.noun import Noun
from portal.routes.api.schemas.foreign import CollectionShown, JobPath, JobShown
from portal.routes.api.schemas.lists import MAX_LIMIT, Listed, ListQuery
from portal.tree import rest_ids

bp = Noun("other", __name__, "Jobs, and collections, which Portico does not have.")


@bp.get("/jobs", responses={200: Listed[JobShown]})
def list_jobs(query: ListQuery) -> Response:
    """List the newest jobs; empty for who is not a site admin"""
    name, _, state = query.filter.partition("=")
    if name not in ("", "state"):
        raise BadValue("Jobs are filtered by their state alone: state=running.", field="filter")
    actor, limit = authentication.actor(), query.limit or MAX_LIMIT
    may = rights.is_site_admin(actor) and not actor.read_only
    found = jobs.list_recent(limit, state=state) if may else ()
    return answers.listed(RowPage(list(found), len(found)), _job)


@bp.post("/jobs/<job_id>/retry", responses={200: JobShown})
def retry_job(path: JobPath) -> JobShown:
    """Retry what failed in an ended job

    What failed in a C-MOVE or C-GET of a peer is sent to the same destination by another job, which is the answer.
    """
    actor = authentication.actor()
    rights.require_admin(actor)
    return _job(retries.retry(rest_ids.row_id(path.job_id, "job"), actor=actor))


@bp.get("/collections", responses={200: Listed[CollectionShown]})
def list_collections(query: ListQuery) -> Response:  # noqa: ARG001 (checked)
    """List the collections: there are none"""
    return answers.listed(RowPage([], 0), _job)


def _job(row: Any) -> JobShown:
    return JobShown(
        id=rest_ids.encode("job", row.id),
        label=row.what,
        kind=row.kind,
        state=row.state,
        message=row.message,
        done=row.done,
        failed=row.failed,
        total=row.total,
        created=row.created,
        modified=row.modified,
    )
