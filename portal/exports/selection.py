"""What of a project an export is of: a subject, a session or what a search finds; as it is written, kept and read."""

from collections.abc import Mapping, Sequence
from typing import Any

from portal.dashboard import search
from portal.errors import BadValue, Missing, PortalError
from portal.models import Session, Study, Subject
from portal.tree import projects
from portal.tree.project_part import ProjectPart

LEVELS = ("project", "subject", "session", "search")
MAX_SESSIONS = 10_000
"""Sessions that a search may find for one export."""
MAX_TEXT_LENGTH = 600
"""Signs of what is kept of the words: two labels and more."""
Params = Mapping[str, Any]
"""Parameters of an export. `part` holds the numbers of what it is of, `only` what that was called when it began."""


def resolve(project_id: int, level: str, only: str) -> ProjectPart:
    """What of a project is meant by what somebody wrote; `#12` is a row's number. Raises Missing or BadValue."""
    if level not in LEVELS:
        raise BadValue(f"{level[:40]!r} is none of: {', '.join(LEVELS)}.", field="level")
    only = only.strip()
    if level == "project":
        return ProjectPart(project=project_id)
    if not only:
        message = {"subject": "Write the subject's label.", "session": "Write it like SUBJECT/SESSION."}
        raise BadValue(message.get(level, "Write what to search for, such as a patient ID."), field="only")
    if level == "subject":
        return ProjectPart(project=project_id, level="subject", ids=(_subject(project_id, only),))
    ids = (_session(project_id, only),) if level == "session" else _searched(project_id, only)
    return ProjectPart(project=project_id, level="session", ids=ids)


def resolve_study(project_id: int, study_instance_uid: str) -> ProjectPart:
    """The session of a study. Raises Missing."""
    found = Study.select(Study.session).where(Study.project == project_id, Study.study_uid == study_instance_uid)
    row = found.first()
    if row is None:
        raise Missing(f"There is no study {study_instance_uid[:70]!r} in this project.", field="study")
    return ProjectPart(project=project_id, level="session", ids=(int(row.session_id),))


def as_kept(part: ProjectPart, level: str, only: str) -> str:
    """What was written (`level`, `only`) as an export keeps it: with the label in place of a number."""
    return f"{level} {_called(part, level, only)}"[:MAX_TEXT_LENGTH] if level != "project" else ""


def title(part: ProjectPart, level: str, only: str) -> str:
    """The same as it stands in a title; empty for all of a project."""
    called = _called(part, level, only)
    return called if level in ("project", "subject", "session") else _phrase(level, called[:100])


def in_words(params: Params) -> str:
    """What an export is of, as it is called now; empty for all of a project."""
    return all_in_words([params])[0]


def all_in_words(some: Sequence[Params]) -> list[str]:
    """The same of several, by one statement a level."""
    named = {
        level: _labels(level, [number for params in some if (number := _number(params, level))])
        for level in ("subject", "session")
    }
    return [_in_words(params, named) for params in some]


def form_values(params: Params) -> tuple[str, str]:
    """Level and text of the form that made these parameters."""
    level, _space, text = str(params.get("only") or "project").partition(" ")
    if number := _number(params, level):
        return level, with_label(params["path"], level, f"#{number}")
    return ("search" if level == "study" else level), text


def with_label(path: str, level: str, only: str) -> str:
    """In place of `#12` the label of what it is, where that alone would mean the same; else what was written."""
    if not only.startswith("#"):
        return only
    try:
        project_id = projects.get_by_path(path).id
        part = resolve(project_id, level, only)
        called = _labels(level, part.ids)[part.ids[0]]
        return called if resolve(project_id, level, called) == part else only
    except (PortalError, KeyError):
        return only


def _number(params: Params, level: str) -> int | None:
    """The row that an export of one subject or session is of."""
    if level not in ("subject", "session") or not str(params.get("only") or "").startswith(f"{level} "):
        return None
    ids = (params.get("part") or {}).get("ids") or ()
    return ids[0] if ids else None


def _in_words(params: Params, named: Mapping[str, Mapping[int, str]]) -> str:
    level, _space, text = str(params.get("only") or "").partition(" ")
    number = _number(params, level)
    if number is None:
        return _phrase(level, text)
    called = named[level].get(number)
    return _phrase(level, called) if called else f"{_phrase(level, text)}, which is no longer there"


def _phrase(level: str, text: str) -> str:
    return f"{'studies of' if level == 'search' else level} {text}".strip()


def _called(part: ProjectPart, level: str, only: str) -> str:
    if level in ("subject", "session"):
        return _labels(level, part.ids).get(part.ids[0], only)
    return "" if level == "project" else only.strip()


def _labels(level: str, ids: Sequence[int]) -> dict[int, str]:
    """What subjects or sessions are called; those that are gone or in the trash are missing."""
    if not ids:
        return {}
    if level == "subject":
        subjects: Any = Subject.select(Subject.id, Subject.label).where(Subject.id.in_(ids), Subject.trash.is_null())
        return dict(subjects.tuples())
    sessions: Any = Session.select(Session.id, Subject.label, Session.label).join(Subject)
    live = sessions.where(Session.id.in_(ids), Session.trash.is_null())
    return {number: f"{subject}/{session}" for number, subject, session in live.tuples()}


def _subject(project_id: int, only: str) -> int:
    found = Subject.select(Subject.id).where(Subject.project == project_id, Subject.trash.is_null())
    return _one(found.where(_named(Subject, only)), "subject", only)


def _session(project_id: int, only: str) -> int:
    sessions = Session.select(Session.id).join(Subject).where(Subject.project == project_id, Session.trash.is_null())
    if only.startswith("#"):
        return _one(sessions.where(_named(Session, only)), "session", only)
    subject, _slash, name = only.partition("/")
    named = sessions.where(_named(Subject, subject.strip()), Session.label == name.strip())
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
        message = f"More than one {what} is called {only[:100]!r}: write its number from the address of its page"
        raise BadValue(f"{message}, like #{numbers[0]}.", field="only")
    return int(numbers[0])


def _searched(project_id: int, text: str) -> tuple[int, ...]:
    found = search.find_sessions(text[:200], project_id, MAX_SESSIONS + 1)
    if not found:
        raise Missing(f"No study of this project is found by {text[:100]!r}.", field="only")
    if len(found) > MAX_SESSIONS:
        raise BadValue(f"{text[:100]!r} finds more than {MAX_SESSIONS:,} studies; write more of it.", field="only")
    return tuple(found)
