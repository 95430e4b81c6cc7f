"""The queries of move and get: which series and instances to send, and the place of their bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from peewee import Tuple, fn

from portal.models import object_places
from portal.models.conditions import all_of
from portal.models.index import CURRENT, Instance, Series, Study
from portal.models.object_places import ObjectPlace
from portal.models.tree import File
from portal.models.visibility import ROWS_PER_PAGE, Row, Selection, conditions, matching, page


@dataclass(frozen=True)
class StoredInstance:
    """The place of an instance's data set, and its SOP Class and encoding."""

    instance_id: int
    file_id: int
    member: str
    """Its name in a zip; empty for an instance that is a file of its own."""
    sop_class: str
    sop_uid: str
    transfer_syntax: str
    digest: str
    """SHA-256 of the data set, in hex."""
    place: ObjectPlace
    """Of the data set."""
    record: ObjectPlace | None
    """Of the record that is the object; None for a member of a zip."""


_STORED = (
    Instance.id,
    Instance.file,
    Instance.member,
    Instance.sop_class,
    Instance.sop_uid,
    Instance.transfer_syntax,
    Instance.dataset_digest,
    *object_places.COLUMNS,
)


def _stored(row: tuple[Any, ...]) -> StoredInstance:
    instance_id, file_id, member, sop_class, sop_uid, syntax, digest, *columns = row
    place, whole = object_places.data_set(tuple(columns)), None if member else object_places.whole(tuple(columns))
    return StoredInstance(instance_id, file_id, member, sop_class, sop_uid, syntax, digest, place, whole)


def stored_instances(ids: Sequence[int]) -> dict[int, StoredInstance]:
    """By number of the instance."""
    query: Any = object_places.join(Instance.select(*_STORED)).where(Instance.id.in_(list(ids)))
    return {row[0]: _stored(row) for row in query.tuples()}


def instances_of_files(file_ids: Sequence[int], members: Sequence[str] = ("",)) -> list[StoredInstance]:
    """The instances of some files, and those of zips whose member has one of these names."""
    query: Any = object_places.join(Instance.select(*_STORED))
    wanted = Instance.file.in_(list(file_ids)), Instance.member.in_(list(members))
    return [_stored(row) for row in query.where(*wanted).tuples()]


def instances_by_uid(sop_uids: Sequence[str]) -> list[StoredInstance]:
    """All instances with some SOP Instance UIDs, whoever may see them."""
    query: Any = object_places.join(Instance.select(*_STORED)).where(Instance.sop_uid.in_(list(sop_uids)))
    return [_stored(row) for row in query.tuples()]


def visible_files(selection: Selection, sop_uids: Sequence[str]) -> set[tuple[int, str, str]]:
    """File, member and SOP Instance UID of the current instances with some of these UIDs that the selection has."""
    query: Any = Instance.select(Instance.file, Instance.member, Instance.sop_uid).join(Series).join(Study)
    wanted = Instance.sop_uid.in_(list(sop_uids)), Instance.state == CURRENT, matching(selection)
    return set(query.where(*wanted).tuples())


@dataclass(frozen=True)
class OwnedInstance:
    """An instance with what decides who may rely on it."""

    stored: StoredInstance
    state: str
    project_id: int
    origin: tuple[str, str]
    """Type and id of who sent it."""


def instances_of_uids(sop_uids: Sequence[str]) -> list[OwnedInstance]:
    """The instances with these UIDs in all projects, alternates too, that are not in the trash."""
    owner = (Instance.state, Instance.project, File.origin_type, File.origin_id)
    query: Any = object_places.join(Instance.select(*owner, *_STORED))
    wanted = Instance.sop_uid.in_(list(sop_uids)), File.deleted_at.is_null()
    return [OwnedInstance(_stored(row[4:]), row[0], row[1], (row[2], row[3])) for row in query.where(*wanted).tuples()]


def last_instance() -> int:
    """The number of the newest instance: later ones do not belong to what was counted before."""
    return int(Instance.select(fn.MAX(Instance.id)).scalar() or 0)


def identities(selection: Selection, last: int, limit: int) -> list[tuple[int, str, str, str]]:
    """Number, UID, SOP Class and transfer syntax of the current instances up to the number `last`, `limit` at most."""
    columns = (Instance.id, Instance.sop_uid, Instance.sop_class, Instance.transfer_syntax)
    query: Any = Instance.select(*columns).join(Series).join(Study)
    wanted = matching(selection), Instance.state == CURRENT, Instance.id <= last
    return list(query.where(*wanted).limit(limit).tuples())


def count_by_class(selection: Selection, last: int) -> list[tuple[str, str, int]]:
    """SOP Class, transfer syntax and count of the current instances up to the number `last`."""
    kinds = (Instance.sop_class, Instance.transfer_syntax)
    query: Any = Instance.select(*kinds, fn.COUNT(Instance.id)).join(Series).join(Study)
    query = query.where(matching(selection), Instance.state == CURRENT, Instance.id <= last)
    return list(query.group_by(*kinds).order_by(*kinds).tuples())


def count_syntaxes(after: int, upto: int) -> list[tuple[int, str, str, int]]:
    """Project, SOP Class, transfer syntax and count of the instances with these numbers, the first one excluded."""
    kinds = (Instance.project, Instance.sop_class, Instance.transfer_syntax)
    query: Any = Instance.select(*kinds, fn.COUNT(Instance.id)).where(Instance.id > after, Instance.id <= upto)
    return list(query.group_by(*kinds).tuples())


def series(selection: Selection, last: int, after: tuple[Any, ...] | None) -> list[Row]:
    """A page of the series with instances to send, study by study."""
    order = (Study.id, Series.id)
    query: Any = Series.select(Series.id, *order).join(Study).where(matching(selection.of("study", "series")))
    if selection.of("instance").wanted:
        query = query.where(Series.id.in_(_instances(selection, last, Instance.series)))
    return page(query.where(Series.n_instances > 0), order, after)


def studies(selection: Selection, last: int) -> tuple[int, tuple[str, str, str] | None]:
    """The number of studies on the first page of series, and modalities, description and Patient ID of the first."""
    ids = list(dict.fromkeys(row.key[0] for row in series(selection, last, None)))
    if not ids:
        return 0, None
    columns = (Study.modalities, Study.description, Study.patient_id)
    return len(ids), Study.select(*columns).where(Study.id == ids[0]).tuples().first()


def instances(
    selection: Selection, series_id: int, last: int, after: tuple[int, int] | None
) -> list[tuple[tuple[int, int], StoredInstance]]:
    """A page of one series by instance number, each with the key after which the next page begins."""
    order = (Instance.number.cast("INTEGER"), Instance.id)
    query = object_places.join(_instances(selection, last, order[0], *_STORED)).where(Instance.series == series_id)
    if after is not None:
        query = query.where(Tuple(*order) > after)
    rows = query.order_by(*order).limit(ROWS_PER_PAGE).tuples()
    return [((row[0], row[1]), _stored(row[1:])) for row in rows]


def _instances(selection: Selection, last: int, *columns: Any) -> Any:
    wanted = [Instance.state == CURRENT, Instance.id <= last, *conditions(selection.of("instance"))]
    return Instance.select(*columns).where(all_of(wanted))
