"""A sample of the files of a project, for previews."""

import itertools
from array import array
from typing import Any

from peewee import fn

from portal.models import Acquisition, File, Instance, Project, Session, Subject
from portal.models.compiled import is_one_of, raw_rows
from portal.models.index import is_held_back
from portal.tree import folders as tree_folders
from portal.tree.folders import Folder
from portal.tree.project_part import ProjectPart
from portal.tree.walk import Walk, WalkedFile

SAMPLED_SUBJECTS, MAX_CONTAINERS = 6, 40
"""Subjects of a sample, and containers of each."""
LAST_FILE_ID = 2**63 - 1
LEVELS: dict[str, Any] = {"project": Project, "subject": Subject, "session": Session, "acquisition": Acquisition}


def sample(part: ProjectPart, most: int) -> list[WalkedFile]:
    """Some files of a part, as different as a few statements find them: other levels, modalities and subjects first.

    Equal names are told apart only within the sample.
    """
    top = tree_folders.of_project(part.project)
    walk = Walk(part, LAST_FILE_ID)
    folders: list[Folder] = [top] if part.level == "project" else []
    for number, label, patient_id in _some_subjects(part):
        below = walk.below([tree_folders.of_subject(top, number, label, patient_id)])
        folders += itertools.islice(below, MAX_CONTAINERS)

    # The number of one live file in each container that has any.
    firsts: dict[tuple[str, int], array[int]] = {}
    for level in dict.fromkeys(folder.level for folder in folders):
        table = LEVELS[level]
        held = Instance.select(Instance.id).where(Instance.file == File.id, is_held_back(Instance))
        is_child = (File.parent_type == level) & (File.parent_id == table.id) & File.deleted_at.is_null()
        first = File.select(File.id).where(is_child, ~fn.EXISTS(held)).limit(1)
        ids = [folder.id for folder in folders if folder.level == level]
        rows = table.select(table.id, first).where(is_one_of(table.id, ids))
        firsts |= {(level, number): array("q", [file]) for number, file in raw_rows(rows) if file is not None}

    filled = [folder for folder in folders if (folder.level, folder.id) in firsts]
    seen: set[tuple[str, ...]] = set()
    other: list[Folder] = []
    more: list[Folder] = []
    for folder in filled:
        kind = (folder.level, folder.facts.get("modality", ""), folder.facts.get("subject", ""))
        (more if kind in seen else other).append(folder)
        seen.add(kind)
    return list(walk.files_by_number([*other, *more][:most], firsts))


def _some_subjects(part: ProjectPart) -> list[tuple[Any, ...]]:
    """The first, the last and some subjects between them."""
    meant = Subject.select(Subject.id).where(Subject.project == part.project, Subject.trash.is_null())
    if part.level == "subject":
        meant = meant.where(Subject.id.in_(part.ids))
    if part.level == "session":
        some = part.ids[:: max(1, len(part.ids) // SAMPLED_SUBJECTS)][:SAMPLED_SUBJECTS]
        meant = meant.where(Subject.id.in_(Session.select(Session.subject).where(Session.id.in_(some))))
    ((first, last),) = raw_rows(meant.select(fn.MIN(Subject.id), fn.MAX(Subject.id)))
    found: dict[int, tuple[Any, ...]] = {}
    for place in range(SAMPLED_SUBJECTS if first is not None else 0):
        least = first + (last - first) * place // (SAMPLED_SUBJECTS - 1)
        rows = Subject.select(Subject.id, Subject.label, Subject.patient_id).where(
            Subject.id.in_(meant.where(Subject.id >= least).order_by(Subject.id).limit(1))
        )
        found |= {row[0]: row for row in raw_rows(rows)}
    return list(found.values())
