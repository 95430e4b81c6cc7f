"""Conflicts: objects that are held, hidden from peers, until an admin decides. No decision deletes bytes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, Literal, cast, get_args

from portal import runtime
from portal.access import audit, rights
from portal.access.actors import Actor, ActorType, Origin
from portal.dicom import header
from portal.dicom.header import Header
from portal.errors import BadValue, Busy, Damaged, Missing, NotDicom
from portal.ingest import descriptions, index, placement, succession
from portal.ingest.index import Verdict
from portal.ingest.register import Stored
from portal.models import (
    CURRENT,
    HELD,
    Conflict,
    Decision,
    File,
    Group,
    Instance,
    Project,
    now,
    writing,
)
from portal.tree import labels, projects

REPLACED = "It replaced an object with different content and the same UID, which is kept."
Choice = Literal["keep", "replace", "separate"]
OPEN = "open"
MAX_CONFLICTS_DECIDED = 200
STATE_LABELS = {"open": "Open", "keep": "Kept", "replace": "Replaced", "separate": "Separated"}
DECISION_MESSAGES: dict[str, str] = {
    "open": "Held until an admin decides.",
    "keep": "Decided: the existing object stays. This object is kept and hidden.",
    "replace": "Decided: this object is shown. The object that it replaced is kept and hidden.",
    "separate": "Decided: this object is shown in a separate project.",
}


def list_newest(state: str | None = OPEN, *, limit: int = 100, before: int | None = None) -> list[Conflict]:
    """Conflicts, newest first; `state` is open, a choice, or None for all. `before`: the last id of the page before."""
    rows = Conflict.select(Conflict, File, Project, Group).join(File).switch(Conflict).join(Project).join(Group)
    rows = rows.where(File.deleted_at.is_null())
    if state is not None:
        rows = rows.where(Conflict.choice == state)
    if before is not None:
        rows = rows.where(Conflict.id < before)
    return list(rows.order_by(Conflict.id.desc()).limit(limit))


def count(state: str = OPEN) -> int:
    """Number of conflicts in one state, without those whose object is in the trash."""
    return int(Conflict.select().join(File).where(Conflict.choice == state, File.deleted_at.is_null()).count())


def get(conflict_id: int | str) -> Conflict:
    """The conflict of this number. Raises Missing."""
    text = str(conflict_id)
    conflict = Conflict.get_or_none(Conflict.id == int(text)) if text.isdecimal() and len(text) < 19 else None
    if conflict is None:
        raise Missing(f"There is no conflict {text[:32]!r}. `portal conflict list` shows those that are open.")
    return conflict


def view(conflict: Conflict) -> dict[str, Any]:
    """A conflict in plain values, for JSON and pages: the arrived object, and the existing one of its UID."""
    rival = succession.rival(conflict)
    return {
        "id": conflict.id,
        "kind": conflict.kind,
        "message": conflict.message,
        "differs": conflict.differs,
        "state": conflict.choice,
        "decision": DECISION_MESSAGES[conflict.choice],
        "project": f"{conflict.project.group.code}/{conflict.project.label}",
        "sop_instance_uid": conflict.sop_uid,
        "arrived": _side(conflict.file, conflict.member),
        "here": None if rival is None else _side(rival.file, rival.member),
    }


def choices_for(conflict: Conflict) -> tuple[str, ...]:
    """The decisions that are possible: a member of a zip cannot be moved to a separate project without the others."""
    return tuple(choice for choice in get_args(Choice) if choice != "separate" or not conflict.member)


def next_open(conflict_id: int) -> int | None:
    """The next open conflict: the newest older one, else the newest of all; None where no other is open."""
    others = (
        Conflict.select(Conflict.id)
        .join(File)
        .where(Conflict.choice == OPEN, Conflict.id != conflict_id, File.deleted_at.is_null())
    )
    ordered = others.order_by(Conflict.id.desc())
    conflict = ordered.where(Conflict.id < conflict_id).first() or ordered.first()
    return None if conflict is None else int(conflict.id)


def resolve(conflict_id: int | str, choice: str, *, actor: Actor) -> Conflict:
    """Decide a conflict, or change the decision: each can be reverted by another one.

    keep: the existing object stays. replace: the held object is shown, and the existing one hidden. separate: the held
    object is shown in a separate project. Raises BadValue, Missing or NotAllowed.
    """
    rights.require_admin(actor)
    if choice not in get_args(Choice):
        raise BadValue(f"{choice[:32]!r} is no decision. Choose keep, replace or separate.", field="choice")
    conflict = get(conflict_id)
    parsed: Header | None = None
    if choice not in choices_for(conflict):
        raise BadValue("The object is a member of a zip, which stays one file. Choose keep or replace.", field="choice")
    if "separate" in (choice, conflict.choice):  # then it is placed by its header; else a damaged one will do
        blob = conflict.file.blob
        with runtime.archive().open(blob.segment, blob.offset, blob.size) as content:
            parsed = header.read_file(cast(BinaryIO, content), blob.size)[0]
    with writing():
        conflict = get(conflict_id)
        if conflict.file.deleted_at is not None:
            raise BadValue("The object is in the trash. Restore it first, then decide.")
        before = conflict.choice
        if before != choice:
            if choice == "keep":
                succession.check_can_hide(conflict)
            _decide(conflict, choice, parsed)
            audit.record(
                actor,
                "conflict:resolved",
                "conflict",
                conflict.id,
                choice=choice,
                before=before,
                sop_instance_uid=conflict.sop_uid,
            )
    descriptions.refresh()
    return conflict


@dataclass(frozen=True, kw_only=True)
class DecidedConflicts:
    """The result of a decision on several conflicts: how many were decided, and why others were not."""

    done: int
    refused: tuple[str, ...]


def resolve_several(numbers: Sequence[str], choice: str, *, actor: Actor) -> DecidedConflicts:
    """The same decision on several conflicts, the oldest first: of those that replace one object, the newest is shown.

    Each is decided on its own; one that fails stops no other. Raises NotAllowed, and BadValue for no conflict, or for
    more than a page has.
    """
    rights.require_admin(actor)
    wanted = sorted(set(numbers), key=lambda text: (len(text), text))
    if not wanted:
        raise BadValue("No conflict is selected. Select those that you decide on.", field="conflict")
    if len(wanted) > MAX_CONFLICTS_DECIDED:
        raise BadValue(f"At most {MAX_CONFLICTS_DECIDED} conflicts can be decided at once.", field="conflict")
    if choice not in get_args(Choice):
        raise BadValue(f"{choice[:32]!r} is no decision. Choose keep, replace or separate.", field="choice")
    refused: list[str] = []
    for number in wanted:
        try:
            resolve(number, choice, actor=actor)
        except (Missing, BadValue, Busy, Damaged, NotDicom) as error:
            refused.append(f"Conflict {number[:20]}: {error.message}")
    return DecidedConflicts(done=len(wanted) - len(refused), refused=tuple(refused))


def apply_replace_policy(stored: Stored) -> Stored:
    """The site's policy *replace*: decide for the object that has just arrived, inside its write block."""
    if not replace_by_policy(stored.file_id):
        return stored
    return replace(stored, outcome="stored", message=REPLACED)


def replace_by_policy(file_id: int, member: str = "") -> bool:
    """The same for an object whose conflict is known; whether it is of the kind that the policy decides."""
    conflict = Conflict.get(Conflict.file == file_id, Conflict.member == member)
    if conflict.kind == "content":
        _decide(conflict, "replace", None)
    return bool(conflict.kind == "content")


def hold_if_undecided(verdict: Verdict, conflict: Conflict | None) -> Verdict:
    """The verdict on an object that is indexed again: held while its conflict is open, whatever is current now."""
    if conflict is None or conflict.choice != OPEN or verdict.state != CURRENT:
        return verdict
    return replace(verdict, state=HELD, message=conflict.message)


def reapply(conflict: Conflict, parsed: Header | None = None) -> None:
    """Carry out the last decision on rows that were created again, inside the caller's write block.

    `parsed`: the header of an object that is restored from the trash; the object that it replaces then is recorded.
    """
    if conflict.choice == "keep":
        _carry_out(conflict, "keep")
    elif conflict.choice == "replace":
        succession.show_unless_overruled(conflict, DECISION_MESSAGES["replace"], note=parsed is not None)
    elif conflict.choice == "separate" and parsed is not None:
        held = Instance.select().where(Instance.file == conflict.file_id, Instance.state == HELD)
        if held.exists():  # another object has taken its UID in the separate project meanwhile
            _move(conflict, _separate_project(conflict).id, parsed, CURRENT)


def _decide(conflict: Conflict, choice: str, parsed: Header | None) -> None:
    rival = index.current_instance(conflict.project_id, conflict.sop_uid)
    is_other = rival is not None and not succession.is_of(conflict, rival)
    gave_way = rival if choice == "replace" and is_other else None
    Decision.create(conflict=conflict, choice=choice, **succession.rival_of(gave_way))
    if choice == "separate":
        succession.hide_if_replaceable(conflict, DECISION_MESSAGES["separate"])
        _move(conflict, _separate_project(conflict).id, parsed, CURRENT)
    else:
        if conflict.choice == "separate":
            _move(conflict, conflict.project_id, parsed, HELD)
        _carry_out(conflict, choice)
    conflict.choice = choice
    conflict.save(only=[Conflict.choice])


def _carry_out(conflict: Conflict, choice: str) -> None:
    if choice == "replace":
        succession.show(conflict, DECISION_MESSAGES["replace"])
    else:
        succession.hide(conflict, DECISION_MESSAGES["keep"])


def _move(conflict: Conflict, project_id: int, parsed: Header | None, state: str) -> None:
    """Put the object into another project, in the index and in the tree."""
    if parsed is None:
        raise Busy("Somebody else has just decided this conflict. Open it again.")
    file = conflict.file
    instance = Instance.get(Instance.file == file)
    origin = Origin(type=cast(ActorType, file.origin_type), id=file.origin_id, via=file.origin_via)
    index.remove_all([file.id])
    acquisition_id = placement.acquisition_for(project_id, parsed, origin)
    file.name = placement.free_name("acquisition", acquisition_id, f"{parsed.sop_uid}.dcm")
    file.parent_type, file.parent_id, file.modified = "acquisition", acquisition_id, now()
    file.save()
    index.add(project_id, file, parsed, instance.dataset_digest, Verdict(state=state, message=conflict.message))


def _separate_project(conflict: Conflict) -> Project:
    """The first of the projects `LABEL~separate`, `LABEL~separate-2`, … in which the object's UID is free."""
    group, number = conflict.project.group, 1
    while True:
        ending = "~separate" if number == 1 else f"~separate-{number}"
        label = conflict.project.label[: labels.MAX_LABEL_LENGTH - len(ending)] + ending
        project = projects.get_or_add(group, label)
        if index.current_instance(project.id, conflict.sop_uid) is None:
            return project
        number += 1


def _side(file: File, member: str) -> dict[str, Any]:
    return {
        **({"member": member} if member else {}),
        "file": file.id,
        "name": file.name,
        "size": file.blob.size,
        "digest": file.blob.digest,
        "created": file.created.isoformat(),
        "origin": {"type": file.origin_type, "id": file.origin_id, "via": file.origin_via},
    }
