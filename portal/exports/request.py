"""Checks of a requested export: which part of a project, where to, by which rules."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from peewee import fn

from portal.access import permissions, rights
from portal.access.actors import Actor
from portal.errors import BadValue, NotAllowed
from portal.exports import conditions, selection
from portal.exports import rules as export_rules
from portal.exports.params import ExportParams
from portal.exports.rules import WrittenRule
from portal.models import File, Group, Project
from portal.peers import peers
from portal.storage import storages
from portal.tree import labels, projects

EXISTING = ("never", "different", "always")
PEER_PREFIX = "peer/"
"""The prefix of a peer's label where a storage or a peer is named: a storage's label has no slash."""
MIN_BANDWIDTH = 1000
"""Bytes a second: a slower export would not end."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of an export, as they are written in a form or on a command line."""

    label: str = ""
    level: str = "project"
    only: str = ""
    """The subject (`S-01`), the session (`S-01/Visit 1`) or what to search studies for; `#12` is a row's number."""
    study: str = ""
    """A Study Instance UID, in place of level and only."""
    rules: Sequence[WrittenRule] = ()
    existing: str = "never"
    """Which objects that are there already are written over: never, different (where the content differs), always."""
    bandwidth: str = ""
    """The limit per second, such as `10 MB`; empty for none."""
    sidecars: bool = False
    """Whether each object gets a sidecar, with which it can be imported again without loss."""


DEFAULT_OPTIONS = Options()


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    params: ExportParams
    what: str
    """The export in words, for the lists of jobs."""


def check(path: str, to: str, options: Options) -> ExportRequest:
    """Raises Missing, NotAllowed or BadValue, with the field of the form."""
    project = projects.get_by_path(path)
    group, label = project.group.code, project.label
    options = options_for(to, options)
    study_instance_uid = options.study.strip()
    if options.study:
        part, level, only = selection.resolve_study(project.id, study_instance_uid), "study", options.study
    else:
        part, level, only = selection.resolve(project.id, options.level, options.only), options.level, options.only
    rules = export_rules.parse(options.rules)
    if options.existing not in EXISTING:
        raise BadValue(f"{options.existing[:40]!r} is none of: {', '.join(EXISTING)}.", field="existing")
    if to.startswith(PEER_PREFIX):
        peer = peers.require_sendable(to.removeprefix(PEER_PREFIX))
        target: dict[str, Any] = {"peer_id": peer.id, "to": peer.label}
    else:
        storage = storages.get(to)
        storages.require_export(storage, group, label)
        target = {"storage_id": storage.id, "to": storage.label}
    params = ExportParams(
        project_id=project.id,
        path=f"{group}/{label}",
        **target,
        last_file_id=last_file_id(),
        part=part,
        only=selection.as_kept(part, level, only),
        study_instance_uid=study_instance_uid,
        rules=rules.written(),
        existing=options.existing,
        bandwidth=bandwidth_of(options.bandwidth),
        sidecars=options.sidecars,
    )
    if options.label.strip():
        return ExportRequest(params=params, what=labels.clean(options.label))
    of = ", ".join(filter(None, (params.path, selection.title(part, level, only))))
    return ExportRequest(params=params, what=f"{of} to {params.to}")


def require_exporter(path: str, to: str, actor: Actor) -> None:
    """Raise NotAllowed unless the actor may export the project `GROUP/PROJECT` to this storage or `peer/LABEL`.

    Admins of a project export it to storages; where they may, site admins have set. To peers only site admins send.
    """
    if rights.is_site_admin(actor):
        rights.require_admin(actor)
        return
    managed = Project.select(Project, Group).join(Group).where(Project.id.in_(rights.scope(actor).manages))
    if path not in {f"{row.group.code}/{row.label}" for row in managed}:
        raise NotAllowed(permissions.MANAGE.refusal, field="project")
    if to.startswith(PEER_PREFIX):
        raise NotAllowed("Only site admins send to peers. Choose a storage.", field="to")


def require_any_project(actor: Actor) -> None:
    """Raise NotAllowed unless there is a project that the actor may export."""
    if not rights.scope(actor).manages and not rights.is_site_admin(actor):
        raise NotAllowed(permissions.MANAGE.refusal)


def targets(actor: Actor) -> list[tuple[str, str]]:
    """What the actor may export to, with its name: for admins of projects the storages that one of these may use."""
    every = storages.list_all()
    if rights.is_site_admin(actor):
        to_peers = [(f"{PEER_PREFIX}{label}", f"{label} (DICOM peer)") for label in peers.sendable_labels()]
        return [*((row.label, row.label) for row in every), *to_peers]
    managed = Project.select(Project, Group).join(Group).where(Project.id.in_(rights.scope(actor).manages))
    visible = {"site"}
    for row in managed:
        visible |= {f"group:{row.group.code}", f"project:{row.group.code}/{row.label}"}
    return [(row.label, row.label) for row in every if row.mode != "import" and row.visible in visible]


def bandwidth_of(text: str) -> int:
    """Bytes per second of a text like 10 MB/s; 0, which is no limit, for an empty one. Raises BadValue."""
    size = text.strip().removesuffix("/s").strip()
    bandwidth = conditions.comparable_number("size", size or "0")
    if bandwidth is None or (size and bandwidth < MIN_BANDWIDTH):
        raise BadValue(f"{size[:40]!r} is no bandwidth. Write a size per second, like 10 MB.", field="bandwidth")
    return int(bandwidth)


def last_file_id() -> int:
    """The number of the newest file: an export takes none that comes later."""
    return File.select(fn.MAX(File.id)).scalar() or 0


def options_for(to: str, options: Options) -> Options:
    """The options that apply there: a peer gets objects without paths, and does not tell which objects it has."""
    if not to.startswith(PEER_PREFIX):
        return options
    rules = [{name: value for name, value in rule.items() if name != "path"} for rule in options.rules]
    return replace(options, rules=rules, existing="never", sidecars=False)


def require_target(params: ExportParams) -> None:
    """Raise Missing or NotAllowed unless the storage or peer of an export may still be used."""
    if params.is_to_peer:
        peers.require_sendable(peers.by_id(params.peer_id).label)
        return
    storages.require_export(storages.by_id(params.storage_id), *projects.path_of(params.project_id).split("/", 1))
