"""Which part of a project an export takes: a subject, a session or what a search finds; as written, kept and shown."""

from collections.abc import Mapping, Sequence
from typing import Any

from portal.dashboard import search
from portal.errors import BadValue, Missing, PortalError
from portal.exports.params import ExportParams
from portal.models import Session, Study, Subject
from portal.tree import projects
from portal.tree.project_part import ProjectPart

LEVELS = ("project", "subject", "session", "search")
MAX_SESSIONS = 10_000
"""Sessions that a search may find for one export."""
MAX_TEXT_LENGTH = 600
"""Characters that are kept of the part in words: two labels and more."""


def resolve(project_id: int, level: str, only: str) -> ProjectPart:
    """The part that a form or command line names; `#12` is a row's number. Raises Missing or BadValue."""
    if level not in LEVELS:
        raise BadValue(f"{level[:40]!r} is none of: {', '.join(LEVELS)}.", field="level")
    only = only.strip()
    if level == "project":
        return ProjectPart(project=project_id)
    if not only:
        message = {"subject": "Write the subject's label.", "session": "Write it like SUBJECT/SESSION."}
        raise BadValue(message.get(level, "Write what to search for, such as a patient ID."), field="only")
    if level == "subject":
        subjects = Subject.select(Subject.id).where(Subject.project == project_id, Subject.trash.is_null())
        subject_id = _only_row(subjects.where(_is_named(Subject, only)), "subject", only)
        return ProjectPart(project=project_id, level="subject", ids=(subject_id,))
    if level == "search":
        found = search.find_sessions(only[:200], project_id, MAX_SESSIONS + 1)
        if not found:
            raise Missing(f"No study of this project is found by {only[:100]!r}.", field="only")
        if len(found) > MAX_SESSIONS:
            raise BadValue(f"{only[:100]!r} finds more than {MAX_SESSIONS:,} studies; write more of it.", field="only")
        return ProjectPart(project=project_id, level="session", ids=tuple(found))

    sessions = Session.select(Session.id).join(Subject).where(Subject.project == project_id, Session.trash.is_null())
    if only.startswith("#"):
        named = sessions.where(_is_named(Session, only))
    else:
        subject, _slash, name = only.partition("/")
        named = sessions.where(_is_named(Subject, subject.strip()), Session.label == name.strip())
    return ProjectPart(project=project_id, level="session", ids=(_only_row(named, "session", only),))


def resolve_study(project_id: int, study_instance_uid: str) -> ProjectPart:
    """The session of a study. Raises Missing."""
    found = Study.select(Study.session).where(Study.project == project_id, Study.study_uid == study_instance_uid)
    row = found.first()
    if row is None:
        raise Missing(f"There is no study {study_instance_uid[:70]!r} in this project.", field="study")
    return ProjectPart(project=project_id, level="session", ids=(int(row.session_id),))


def as_kept(part: ProjectPart, level: str, only: str) -> str:
    """The part in words as an export keeps it: `level` and `only` as written, with the label in place of a number."""
    return f"{level} {_name(part, level, only)}"[:MAX_TEXT_LENGTH] if level != "project" else ""


def title(part: ProjectPart, level: str, only: str) -> str:
    """The same for a title; empty for the whole project."""
    name = _name(part, level, only)
    return name if level in ("project", "subject", "session") else _phrase(level, name[:100])


def in_words(params: ExportParams) -> str:
    """The part of an export with its present name; empty for the whole project."""
    return all_in_words([params])[0]


def all_in_words(exports: Sequence[ExportParams]) -> list[str]:
    """The same of several, by one statement a level."""
    labels = {
        level: _labels(level, [number for params in exports if (number := _row_number(params, level))])
        for level in ("subject", "session")
    }
    words = []
    for params in exports:
        level, _space, text = params.only.partition(" ")
        number = _row_number(params, level)
        if number is None:
            words.append(_phrase(level, text))
        elif label := labels[level].get(number):
            words.append(_phrase(level, label))
        else:
            words.append(f"{_phrase(level, text)}, which is no longer there")
    return words


def form_values(params: ExportParams) -> tuple[str, str]:
    """Level and text of the form that made these parameters."""
    level, _space, text = (params.only or "project").partition(" ")
    if number := _row_number(params, level):
        return level, with_label(params.path, level, f"#{number}")
    return ("search" if level == "study" else level), text


def with_label(path: str, level: str, only: str) -> str:
    """The label in place of `#12`, where it names the same part; else `only` as it is."""
    if not only.startswith("#"):
        return only
    try:
        project_id = projects.get_by_path(path).id
        part = resolve(project_id, level, only)
        label = _labels(level, part.ids)[part.ids[0]]
        return label if resolve(project_id, level, label) == part else only
    except (PortalError, KeyError):
        return only


def _row_number(params: ExportParams, level: str) -> int | None:
    """The row of the one subject or session that is exported."""
    if level not in ("subject", "session") or not params.only.startswith(f"{level} "):
        return None
    return params.part.ids[0] if params.part.ids else None


def _phrase(level: str, text: str) -> str:
    return f"{'studies of' if level == 'search' else level} {text}".strip()


def _name(part: ProjectPart, level: str, only: str) -> str:
    if level in ("subject", "session"):
        return _labels(level, part.ids).get(part.ids[0], only)
    return "" if level == "project" else only.strip()


def _labels(level: str, ids: Sequence[int]) -> Mapping[int, str]:
    """The labels of subjects or sessions; those that are gone or in the trash are left out."""
    if not ids:
        return {}
    if level == "subject":
        subjects: Any = Subject.select(Subject.id, Subject.label).where(Subject.id.in_(ids), Subject.trash.is_null())
        return dict(subjects.tuples())
    sessions: Any = Session.select(Session.id, Subject.label, Session.label).join(Subject)
    live = sessions.where(Session.id.in_(ids), Session.trash.is_null())
    return {number: f"{subject}/{session}" for number, subject, session in live.tuples()}


def _is_named(table: Any, text: str) -> Any:
    number = text.removeprefix("#")
    if text.startswith("#") and number.isascii() and number.isdecimal() and len(number) < 19:
        return table.id == int(number)
    return table.label == text


def _only_row(rows: Any, noun: str, only: str) -> int:
    """The number of the only row that is found."""
    numbers = [row[0] for row in rows.limit(3).tuples()]
    if not numbers:
        raise Missing(f"There is no {noun} {only[:100]!r} in this project.", field="only")
    if len(numbers) > 1:
        message = f"More than one {noun} is called {only[:100]!r}: write its number from the address of its page"
        raise BadValue(f"{message}, like #{numbers[0]}.", field="only")
    return int(numbers[0])
