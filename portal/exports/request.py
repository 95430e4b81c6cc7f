"""What somebody wants exported, checked: what of a project, where to, by which rules; kept as a job's parameters."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from peewee import fn

from portal.errors import BadValue
from portal.exports import conditions, selection
from portal.exports import rules as export_rules
from portal.exports.rules import Rules, WrittenRule
from portal.models import File, Job
from portal.peers import peers
from portal.storage import storages
from portal.tree import labels, projects
from portal.tree.project_part import ProjectPart

EXISTING = ("never", "different", "always")
PEER_PREFIX = "peer/"
"""What stands before the label of a peer where it stands in place of a storage."""
MIN_BANDWIDTH = 1000
"""Bytes a second: a slower export would never end."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How an export is to be other than usual. Each is as it was written in a form or on a command line."""

    label: str = ""
    level: str = "project"
    only: str = ""
    """The subject (`S-01`), the session (`S-01/Visit 1`) or what to search studies for; `#12` is a row's number."""
    study: str = ""
    """A Study Instance UID, in place of level and only."""
    rules: Sequence[WrittenRule] = ()
    existing: str = "never"
    """Whether what is there is written over: never, different (where its content differs), always."""
    bandwidth: str = ""
    """The most that is sent in a second, such as `10 MB`; empty for as much as the line gives."""

    sidecars: bool = False
    """Whether a document lies beside each object, enough to take it in again with nothing lost."""


DEFAULT_OPTIONS = Options()


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    part: ProjectPart
    params: dict[str, Any]
    what: str


def check(path: str, to: str, options: Options) -> ExportRequest:
    """Raises Missing, NotAllowed or BadValue, with the field of the form."""
    project = projects.get_by_path(path)
    group, label = project.group.code, project.label
    options = options_for(to, options)
    if options.study:
        part = selection.resolve_study(project.id, options.study.strip())
        options = replace(options, level="study", only=options.study)
    else:
        part = selection.resolve(project.id, options.level, options.only)
    rules = export_rules.parse(options.rules)
    if options.existing not in EXISTING:
        raise BadValue(f"{options.existing[:40]!r} is none of: {', '.join(EXISTING)}.", field="existing")
    params: dict[str, Any] = {
        "project": project.id,
        "path": f"{group}/{label}",
        **_target(to, group, label),
        "last_file": File.select(fn.MAX(File.id)).scalar() or 0,
        "part": {"level": part.level, "ids": list(part.ids)},
        "only": selection.as_kept(part, options.level, options.only),
        **({"study": options.study.strip()} if options.study else {}),
        "rules": rules.written(),
        "existing": options.existing,
        "bandwidth": _bandwidth(options.bandwidth),
        "sidecars": options.sidecars,
    }
    name = labels.clean(options.label) if options.label.strip() else ""
    of = ", ".join(filter(None, (params["path"], selection.title(part, options.level, options.only))))
    what = name or f"{of} to {params['to']}"
    return ExportRequest(part=part, params=params, what=what)


def options_for(to: str, options: Options) -> Options:
    """The options that mean something there: a peer gets objects, so no paths, and says nothing of what it has."""
    if not to.startswith(PEER_PREFIX):
        return options
    rules = [{name: value for name, value in rule.items() if name != "path"} for rule in options.rules]
    return replace(options, rules=rules, existing="never", sidecars=False)


def _target(to: str, group: str, label: str) -> dict[str, Any]:
    """The storage, or the peer behind `peer/`: a label of a storage has no slash."""
    if to.startswith(PEER_PREFIX):
        peer = peers.require_sendable(to.removeprefix(PEER_PREFIX))
        return {"peer": peer.id, "to": peer.label}
    storage = storages.get(to)
    storages.require_export(storage, group, label)
    return {"storage": storage.id, "to": storage.label}


def require_target(params: dict[str, Any]) -> None:
    """Raise Missing or NotAllowed unless where an export goes may still be used."""
    if "peer" in params:
        peers.require_sendable(peers.by_id(params["peer"]).label)
        return
    storages.require_export(storages.by_id(params["storage"]), *projects.path_of(params["project"]).split("/", 1))


def part(job: Job) -> ProjectPart:
    """What an export or dry run is of."""
    chosen = job.params.get("part") or {"level": "project", "ids": ()}
    return ProjectPart(project=job.params["project"], level=chosen["level"], ids=tuple(chosen["ids"]))


def rules(job: Job) -> Rules:
    """The rules of an export or dry run."""
    return export_rules.parse(job.params.get("rules") or ())


def _bandwidth(text: str) -> int:
    """Bytes a second; 0 for no limit."""
    text = text.strip().removesuffix("/s").strip()
    if not text:
        return 0
    number = conditions.comparable_number("size", text)
    if number is None or number < MIN_BANDWIDTH:
        raise BadValue(f"{text[:40]!r} is no speed. Write what is sent in a second, like 10 MB.", field="bandwidth")
    return int(number)
