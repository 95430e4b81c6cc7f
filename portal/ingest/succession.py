"""Which object of one UID is shown, by all decisions on its conflicts: the last that replaced another, and still does.

Of a project's objects of one UID at most one is current. Decisions may be taken in any order, and taken back in any
other; what a decision gives back follows from those that hold now, never from the one that was taken back alone.
"""

from collections.abc import Sequence
from typing import Any

from peewee import fn

from portal.errors import BadValue
from portal.ingest import index
from portal.models import ALTERNATE, CURRENT, SUPERSEDED, Conflict, Decision, Instance

REPLACED = "Replaced by another object under its UID."
SHOWN_AFTER_PURGE = "What had replaced it was purged."
SAME_UID_KINDS = ("content", "class")
"""Kinds of conflicts with another object under the same UID."""
NOT_SHOWN_CHOICES = ("open", "keep")
"""Of an object with such a conflict, nobody has decided that it is shown."""


def show(conflict: Conflict, reason: str) -> None:
    """Show the object of a conflict, and hide the one that is shown, inside the caller's write block."""
    held = instance_of(conflict)
    if held is None:
        return
    current = index.current_instance(conflict.project_id, conflict.sop_uid)
    if current is not None and current.id != held.id:
        index.change_state(current, SUPERSEDED, REPLACED)
    index.change_state(held, CURRENT, reason)


def show_unless_overruled(conflict: Conflict, reason: str, *, note: bool) -> None:
    """The same, unless what is shown replaced another by a later decision; `note` what gives way now."""
    held, current = instance_of(conflict), index.current_instance(conflict.project_id, conflict.sop_uid)
    if held is None:
        return
    if current is not None and current.id != held.id:
        if (_claim(current.file_id) or 0) > (_claim(held.file_id) or 0):
            index.change_state(held, SUPERSEDED, REPLACED)
            return
        if note:
            Decision.create(conflict=conflict, choice="replace", rival=current.file_id)
    show(conflict, reason)


def hide(conflict: Conflict, reason: str) -> None:
    """Hide the object of a conflict; where it was shown, the one that gave way to it last is shown again."""
    held = instance_of(conflict)
    if held is None:
        return
    was_shown, after = held.state == CURRENT, successor(conflict)
    index.change_state(held, SUPERSEDED, reason)
    if was_shown and after is not None:
        index.change_state(Instance.get_by_id(after.id), CURRENT, "")


def hide_if_replaceable(conflict: Conflict, reason: str) -> None:
    """The same for one that goes elsewhere: where nothing can take its place, it is as it was until it has gone."""
    held = instance_of(conflict)
    if held is not None and held.state == CURRENT and successor(conflict) is not None:
        hide(conflict, reason)


def successor(conflict: Conflict) -> Instance | None:
    """What is shown once this object is shown no longer: of those that nobody decided against, the last shown.

    The same object in another container is hidden with it, unless somebody decided for that one, too.
    """
    others = Instance.select().where(
        Instance.project == conflict.project_id,
        Instance.sop_uid == conflict.sop_uid,
        Instance.state.in_((SUPERSEDED, ALTERNATE)),
        Instance.file != conflict.file_id,
    )
    held = instance_of(conflict)
    ranked = []
    for one in others:
        claim, is_same = _claim(one.file_id), held is not None and _content(one) == _content(held)
        if claim or (claim is not None and one.state == SUPERSEDED and not is_same):
            ranked.append((max(claim, _gave_way(one.file_id)), claim, one.id, one))
    return max(ranked, key=lambda row: row[:3])[3] if ranked else None


def successors_after_purge(files: Sequence[int]) -> list[Instance]:
    """What the objects of these files had replaced, which is to be shown once they are purged. Reads only.

    While they are in the trash it stays hidden, as restoring them shows them again (docs/decisions/0061).
    """
    conflicts = Conflict.select().where(Conflict.file.in_(list(files)), Conflict.choice == "replace")
    return [found for conflict in conflicts if (found := successor(conflict)) is not None]


def show_after_purge(instances: Sequence[Instance]) -> None:
    """Show them where nothing is shown under their UID, inside the caller's write block."""
    for instance in instances:
        if index.current_instance(instance.project_id, instance.sop_uid) is None:
            index.change_state(instance, CURRENT, SHOWN_AFTER_PURGE)


def check_can_hide(conflict: Conflict) -> None:
    """Raise BadValue where nothing would be shown under the UID: what *keep* is to keep is in the trash, or purged."""
    current = index.current_instance(conflict.project_id, conflict.sop_uid)
    is_alone = current is None or current.file_id == conflict.file_id
    if is_alone and conflict.kind in SAME_UID_KINDS and successor(conflict) is None:
        raise BadValue(
            "Nothing else is here under this UID, so there is nothing to keep. Restore the other object from the "
            "trash, or choose Replace, which shows this one."
        )


def instance_of(conflict: Conflict) -> Instance | None:
    """The object, as long as it is in the conflict's project and not in the trash."""
    found: Instance | None = Instance.get_or_none(
        Instance.file == conflict.file_id, Instance.project == conflict.project_id
    )
    return found


def in_decision_order() -> Any:
    """Conflicts that are decided on, as a query, in the order of the decisions that hold."""
    last = Decision.select(fn.MAX(Decision.id)).where(Decision.conflict == Conflict.id)
    return Conflict.select().where(Conflict.choice != "open").order_by(last, Conflict.id)


def _content(one: Instance) -> tuple[str, str]:
    return one.transfer_syntax, one.dataset_digest


def _claim(file_id: int) -> int | None:
    """The decision by which it is shown, by its number; 0 where none was needed, None where none says so."""
    conflict = Conflict.get_or_none(Conflict.file == file_id)
    if conflict is None:
        return 0
    if conflict.choice in NOT_SHOWN_CHOICES:
        return None
    return _last(Decision.conflict == conflict)


def _gave_way(file_id: int) -> int:
    """The last decision by which it was hidden; 0 where none is known."""
    return _last(Decision.rival == file_id)


def _last(condition: Any) -> int:
    return int(Decision.select(fn.MAX(Decision.id)).where(condition).scalar() or 0)
