"""Which object of one UID is shown, by all decisions on its conflicts: that of the last *replace* that still holds.

Of a project's objects of one UID at most one is current. Decisions may be made in any order, and reverted in any other;
the object that is shown follows from all decisions that hold now, never from the reverted one alone.
"""

from collections.abc import Sequence
from typing import Any

from peewee import fn

from portal.errors import BadValue
from portal.ingest import index
from portal.models import ALTERNATE, CURRENT, SUPERSEDED, Conflict, Decision, Instance

REPLACED = "Replaced by another object with the same UID."
SHOWN_AFTER_PURGE = "The object that had replaced it was purged."
SAME_UID_KINDS = ("content", "class")
"""Kinds of conflicts with another object of the same UID."""
NOT_SHOWN_CHOICES = ("open", "keep")
"""The choices of a conflict by which its object is not shown."""


def show(conflict: Conflict, reason: str) -> None:
    """Show the object of a conflict instead of the current one, inside the caller's write block."""
    held = instance_of(conflict)
    if held is None:
        return
    current = index.current_instance(conflict.project_id, conflict.sop_uid)
    if current is not None and current.id != held.id:
        index.change_state(current, SUPERSEDED, REPLACED)
    index.change_state(held, CURRENT, reason)


def show_unless_overruled(conflict: Conflict, reason: str, *, note: bool) -> None:
    """The same, unless the current object is shown by a later decision; `note`: record which object is replaced now."""
    held, current = instance_of(conflict), index.current_instance(conflict.project_id, conflict.sop_uid)
    if held is None:
        return
    if current is not None and current.id != held.id:
        if (_claim(current) or 0) > (_claim(held) or 0):
            index.change_state(held, SUPERSEDED, REPLACED)
            return
        if note:
            Decision.create(conflict=conflict, choice="replace", **rival_of(current))
    show(conflict, reason)


def hide(conflict: Conflict, reason: str) -> None:
    """Hide the object of a conflict; if it was current, its successor is shown."""
    held = instance_of(conflict)
    if held is None:
        return
    was_shown, next_shown = held.state == CURRENT, successor(conflict)
    index.change_state(held, SUPERSEDED, reason)
    if was_shown and next_shown is not None:
        index.change_state(Instance.get_by_id(next_shown.id), CURRENT, "")


def hide_if_replaceable(conflict: Conflict, reason: str) -> None:
    """The same for an object that is to be moved; without a successor it stays as it is until it is moved."""
    held = instance_of(conflict)
    if held is not None and held.state == CURRENT and successor(conflict) is not None:
        hide(conflict, reason)


def successor(conflict: Conflict) -> Instance | None:
    """The object to show once this one is hidden: the one shown last, of those that no decision hides.

    The same object in another container is hidden together with this one, unless a decision shows that one, too.
    """
    others = Instance.select().where(
        Instance.project == conflict.project_id,
        Instance.sop_uid == conflict.sop_uid,
        Instance.state.in_((SUPERSEDED, ALTERNATE)),
        ~is_object_of(conflict),
    )
    held = instance_of(conflict)
    ranked = []
    for one in others:
        claim, is_same = _claim(one), held is not None and _content(one) == _content(held)
        if claim or (claim is not None and one.state == SUPERSEDED and not is_same):
            replaced = _last(
                (Decision.rival == one.file_id) & (Decision.rival_member == one.member)
            )  # the last decision that hid it; 0 for none
            ranked.append((max(claim, replaced), claim, one.id, one))
    return max(ranked, key=lambda row: row[:3])[3] if ranked else None


def rival(conflict: Conflict) -> Instance | None:
    """The object that is current, or would be if the conflict's object were hidden."""
    current = index.current_instance(conflict.project_id, conflict.sop_uid)
    if current is not None and is_of(conflict, current):
        return successor(conflict)
    return current


def successors_after_purge(files: Sequence[int]) -> list[Instance]:
    """The objects that those of these files had replaced, to be shown once these are purged. Reads only.

    While the files are in the trash they stay hidden, since a restore shows the files' objects (docs/decisions/0061).
    """
    conflicts = Conflict.select().where(Conflict.file.in_(list(files)), Conflict.choice == "replace")
    return [found for conflict in conflicts if (found := successor(conflict)) is not None]


def show_after_purge(instances: Sequence[Instance]) -> None:
    """Show those whose UID has no current object, inside the caller's write block."""
    for instance in instances:
        if index.current_instance(instance.project_id, instance.sop_uid) is None:
            index.change_state(instance, CURRENT, SHOWN_AFTER_PURGE)


def check_can_hide(conflict: Conflict) -> None:
    """Raise BadValue where *keep* would leave the UID without an object: the other one is in the trash, or purged."""
    current = index.current_instance(conflict.project_id, conflict.sop_uid)
    is_alone = current is None or is_of(conflict, current)
    if is_alone and conflict.kind in SAME_UID_KINDS and successor(conflict) is None:
        raise BadValue(
            "There is nothing to keep: no other object has this UID. Restore the other object from the trash, or "
            "choose Replace, which shows this one."
        )


def instance_of(conflict: Conflict) -> Instance | None:
    """The object of a conflict; None if it is in another project or in the trash."""
    instance: Instance | None = Instance.get_or_none(is_object_of(conflict), Instance.project == conflict.project_id)
    return instance


def is_object_of(conflict: Conflict) -> Any:
    """The condition for the instance of a conflict: a file, or a member of one."""
    return (Instance.file == conflict.file_id) & (Instance.member == conflict.member)


def is_of(conflict: Conflict, instance: Instance) -> bool:
    """The same of one instance."""
    return (instance.file_id, instance.member) == (conflict.file_id, conflict.member)


def rival_of(instance: Instance | None) -> dict[str, Any]:
    """The columns of a Decision that name the object that was replaced."""
    return {} if instance is None else {"rival": instance.file_id, "rival_member": instance.member}


def in_decision_order() -> Any:
    """The query of decided conflicts, in the order of the decisions that hold."""
    last = Decision.select(fn.MAX(Decision.id)).where(Decision.conflict == Conflict.id)
    return Conflict.select().where(Conflict.choice != "open").order_by(last, Conflict.id)


def _content(one: Instance) -> tuple[str, str]:
    return one.transfer_syntax, one.dataset_digest


def _claim(one: Instance) -> int | None:
    """The number of the decision by which it is shown; 0 for an object without a conflict, None where none shows it."""
    conflict = index.conflict_of(one.file_id, one.member)
    if conflict is None:
        return 0
    if conflict.choice in NOT_SHOWN_CHOICES:
        return None
    return _last(Decision.conflict == conflict)


def _last(condition: Any) -> int:
    """The number of the last decision that meets a condition; 0 for none."""
    return int(Decision.select(fn.MAX(Decision.id)).where(condition).scalar() or 0)
