"""What somebody wants exported, checked: what of a project, where to, by which rules; kept as a job's parameters."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from peewee import fn

from portal import containers, export_conditions, export_rules, labels, peers, search
from portal.errors import BadValue, Missing
from portal.export_rules import Rules, Written
from portal.export_walk import Part
from portal.models import File, Job, Session, Study, Subject
from portal.storage import storages

LEVELS = ("project", "subject", "session", "search")
EXISTING = ("never", "different", "always")
TO_PEER = "peer/"
"""What stands before the label of a peer where it stands in place of a storage."""
MOST_SESSIONS = 10_000
"""Sessions that a search may find for one export."""
SLOWEST = 1000
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
    rules: Sequence[Written] = ()
    existing: str = "never"
    """Whether what is there is written over: never, different (where its content differs), always."""
    bandwidth: str = ""
    """The most that is sent in a second, such as `10 MB`; empty for as much as the line gives."""

    sidecars: bool = False
    """Whether a document lies beside each object, enough to take it in again with nothing lost."""


USUAL = Options()


@dataclass(frozen=True, kw_only=True)
class Order:
    part: Part
    params: dict[str, Any]
    what: str


def check(path: str, to: str, options: Options) -> Order:
    """Raises Missing, NotAllowed or BadValue, with the field of the form."""
    project = containers.project(path)
    group, label = project.group.code, project.label
    options = meant_for(to, options)
    if options.study:
        part = Part(project=project.id, level="session", ids=(_of_study(project.id, options.study.strip()),))
        options = replace(options, level="study", only=options.study)
    else:
        part = part_of(project.id, options.level, options.only)
    rules = export_rules.parse(options.rules)
    if options.existing not in EXISTING:
        raise BadValue(f"{options.existing[:40]!r} is none of: {', '.join(EXISTING)}.", field="existing")
    params: dict[str, Any] = {
        "project": project.id,
        "path": f"{group}/{label}",
        **_target(to, group, label),
        "last_file": File.select(fn.MAX(File.id)).scalar() or 0,
        "part": {"level": part.level, "ids": list(part.ids)},
        "only": "" if part.level == "project" else _words(options),
        **({"study": options.study.strip()} if options.study else {}),
        "rules": rules.written(),
        "existing": options.existing,
        "bandwidth": _bandwidth(options.bandwidth),
        "sidecars": options.sidecars,
    }
    name = labels.clean(options.label) if options.label.strip() else ""
    what = name or f"{', '.join(filter(None, (params['path'], words_of(part, options))))} to {params['to']}"
    return Order(part=part, params=params, what=what)


def meant_for(to: str, options: Options) -> Options:
    """The options that mean something there: a peer gets objects, so no paths, and says nothing of what it has."""
    if not to.startswith(TO_PEER):
        return options
    rules = [{name: value for name, value in rule.items() if name != "path"} for rule in options.rules]
    return replace(options, rules=rules, existing="never", sidecars=False)


def _target(to: str, group: str, label: str) -> dict[str, Any]:
    """The storage, or the peer behind `peer/`: a label of a storage has no slash."""
    if to.startswith(TO_PEER):
        peer = peers.require_send(to.removeprefix(TO_PEER))
        return {"peer": peer.id, "to": peer.label}
    storage = storages.get(to)
    storages.require_export(storage, group, label)
    return {"storage": storage.id, "to": storage.label}


def require_target(params: dict[str, Any]) -> None:
    """Raise Missing or NotAllowed unless where an export goes may still be used."""
    if "peer" in params:
        peers.require_send(peers.by_id(params["peer"]).label)
        return
    storages.require_export(storages.by_id(params["storage"]), *containers.path_of(params["project"]).split("/", 1))


def part_of(project_id: int, level: str, only: str) -> Part:
    """What of a project is meant. Raises Missing or BadValue."""
    if level not in LEVELS:
        raise BadValue(f"{level[:40]!r} is none of: {', '.join(LEVELS)}.", field="level")
    only = only.strip()
    if level == "project":
        return Part(project=project_id)
    if not only:
        sentence = {"subject": "Write the subject's label.", "session": "Write it like SUBJECT/SESSION."}
        raise BadValue(sentence.get(level, "Write what to search for, such as a patient ID."), field="only")
    if level == "subject":
        return Part(project=project_id, level="subject", ids=(_subject(project_id, only),))
    ids = (_session(project_id, only),) if level == "session" else _searched(project_id, only)
    return Part(project=project_id, level="session", ids=ids)


def part(job: Job) -> Part:
    """What an export or dry run is of."""
    chosen = job.params.get("part") or {"level": "project", "ids": ()}
    return Part(project=job.params["project"], level=chosen["level"], ids=tuple(chosen["ids"]))


def rules(job: Job) -> Rules:
    """The rules of an export or dry run."""
    return export_rules.parse(job.params.get("rules") or ())


def words_of(part: Part, options: Options) -> str:
    """What of a project is meant, as a person reads it; empty for all of it."""
    if part.level == "subject":
        return str(Subject.get_by_id(part.ids[0]).label)
    if options.level == "study":
        return f"study {options.only.strip()}"
    if options.level == "session":
        session = Session.select(Session, Subject).join(Subject).where(Session.id == part.ids[0]).get()
        return f"{session.subject.label}/{session.label}"
    return f"studies of {options.only.strip()[:100]}" if options.level == "search" else ""


def _of_study(project_id: int, study_instance_uid: str) -> int:
    found = Study.select(Study.session).where(Study.project == project_id, Study.study_uid == study_instance_uid)
    row = found.first()
    if row is None:
        raise Missing(f"There is no study {study_instance_uid[:70]!r} in this project.", field="study")
    return int(row.session_id)


def _subject(project_id: int, only: str) -> int:
    found = Subject.select(Subject.id).where(Subject.project == project_id, Subject.trash.is_null())
    return _one(found.where(_named(Subject, only)), "subject", only)


def _session(project_id: int, only: str) -> int:
    sessions = Session.select(Session.id).join(Subject).where(Subject.project == project_id, Session.trash.is_null())
    if only.startswith("#"):
        return _one(sessions.where(_named(Session, only)), "session", only)
    subject, _slash, label = only.partition("/")
    named = sessions.where(_named(Subject, subject.strip()), Session.label == label.strip())
    return _one(named, "session", only)


def _named(table: Any, text: str) -> Any:
    number = text.removeprefix("#")
    if text.startswith("#") and number.isascii() and number.isdecimal() and len(number) < 19:
        return table.id == int(number)
    return table.label == text


def _one(found: Any, what: str, only: str) -> int:
    numbers = [row[0] for row in found.limit(3).tuples()]
    if not numbers:
        raise Missing(f"There is no {what} {only[:100]!r} in this project.", field="only")
    if len(numbers) > 1:
        sentence = f"More than one {what} is called {only[:100]!r}: write its number from the address of its page"
        raise BadValue(f"{sentence}, like #{numbers[0]}.", field="only")
    return int(numbers[0])


def _searched(project_id: int, text: str) -> tuple[int, ...]:
    found = search.sessions(text[:200], project_id, MOST_SESSIONS + 1)
    if not found:
        raise Missing(f"No study of this project is found by {text[:100]!r}.", field="only")
    if len(found) > MOST_SESSIONS:
        raise BadValue(f"{text[:100]!r} finds more than {MOST_SESSIONS:,} studies; write more of it.", field="only")
    return tuple(found)


def _words(options: Options) -> str:
    return f"{options.level} {options.only.strip()}"[:200]


def _bandwidth(text: str) -> int:
    """Bytes a second; 0 for no limit."""
    text = text.strip().removesuffix("/s").strip()
    if not text:
        return 0
    number = export_conditions.number_of("size", text)
    if number is None or number < SLOWEST:
        raise BadValue(f"{text[:40]!r} is no speed. Write what is sent in a second, like 10 MB.", field="bandwidth")
    return int(number)
