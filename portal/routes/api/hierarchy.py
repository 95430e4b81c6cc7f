"""/api/projects/{id}/upsert-hierarchy and /api/uids: what importers ask for before they send."""

from collections.abc import Collection

from portal.access.rights import Scope
from portal.annotations import upsert
from portal.annotations.upsert import Wanted
from portal.lookup import uid_check
from portal.routes.api import authentication
from portal.routes.api.containers import kept, moment
from portal.routes.api.noun import Noun
from portal.routes.api.schemas.containers import ContainerPath
from portal.routes.api.schemas.hierarchy import (
    HierarchyShown,
    HierarchyWanted,
    UidsAsked,
    UidsByProject,
    UidsFound,
    UpsertShown,
    UpsertWanted,
)
from portal.tree import rest_ids

bp = Noun("hierarchy", __name__, "A whole branch at once, and UIDs that exist.")


@bp.post("/projects/<container_id>/upsert-hierarchy", responses={200: HierarchyShown})
def upsert_hierarchy(path: ContainerPath, body: HierarchyWanted) -> HierarchyShown:
    """Create a subject, a session and an acquisition, or update them

    They are found by their id, their UID, or their label. All of them are written or none.
    """
    given = {kind: getattr(body, kind) for kind in upsert.LEVELS}
    wanted = {kind: _wanted(kind, one) for kind, one in given.items() if one is not None}
    project_id = rest_ids.row_id(path.container_id, "project")
    done = upsert.upsert(project_id, wanted, actor=authentication.actor())
    return HierarchyShown(**{one.kind: _shape(one) for one in done})


@bp.post("/uids", responses={200: UidsFound})
def uids(body: UidsAsked) -> UidsFound:
    """Find those of some UIDs that exist"""
    found = _found(body).values()
    sessions = {uid for inside, _ in found for uid in inside}
    return UidsFound(sessions=sorted(sessions), acquisitions=sorted({uid for _, inside in found for uid in inside}))


@bp.post("/uids/projects", responses={200: UidsByProject})
def uids_by_project(body: UidsAsked) -> UidsByProject:
    """Find those of some UIDs that exist, by their project"""
    return UidsByProject(
        {
            rest_ids.encode("project", project): UidsFound(sessions=sorted(sessions), acquisitions=sorted(acquisitions))
            for project, (sessions, acquisitions) in _found(body).items()
        }
    )


def _found(body: UidsAsked) -> uid_check.Found:
    scope = authentication.scope()
    named = [*(body.project_ids or ()), *([body.project_id] if body.project_id else ())]
    if named:
        scope = _within(scope, frozenset(rest_ids.row_id(text, "project") for text in named))
    return uid_check.by_project(body.sessions or (), body.acquisitions or (), scope)


def _within(scope: Scope, project_ids: Collection[int]) -> Scope:
    return scope.limited_to(lambda number: number in project_ids)


def _wanted(kind: str, body: UpsertWanted) -> Wanted:
    return Wanted(
        row_id=None if body.id is None else rest_ids.row_id(body.id, kind),
        label=body.label,
        uid=body.uid or None,
        timestamp=moment(body.timestamp),
        info={**(body.info or {}), **kept(body)},
        tags=body.tags,
    )


def _shape(one: upsert.Upserted) -> UpsertShown:
    uid = {} if one.kind == "subject" else {"uid": one.row.uid}
    return UpsertShown(id=rest_ids.encode(one.kind, one.row.id), label=one.row.label, upsert_result=one.result, **uid)
