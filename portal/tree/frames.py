"""Which pictures there are: the frames of a series in their order, and what has a picture at all."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from peewee import fn

from portal.access.rights import Scope
from portal.errors import Missing
from portal.models import CURRENT, Blob, File, Instance, Series, Study

Kind = Literal["picture", "report", "document", "rt", "video", "waveform", "state", "other"]
"""What an object is to the eye; all but `picture` have an icon instead."""

RT_IMAGE = "1.2.840.10008.5.1.4.1.1.481.1"
KIND_BY_CLASS_PREFIX: tuple[tuple[str, Kind], ...] = (
    ("1.2.840.10008.5.1.4.1.1.88.", "report"),
    ("1.2.840.10008.5.1.4.1.1.104.", "document"),
    ("1.2.840.10008.5.1.4.1.1.481.", "rt"),
    ("1.2.840.10008.5.1.4.1.1.9.", "waveform"),
    ("1.2.840.10008.5.1.4.1.1.11.", "state"),
)
"""SOP Classes by how their UID begins (PS3.4 B.5)."""
KIND_BY_MODALITY: dict[str, Kind] = {
    **dict.fromkeys(("SR", "KO", "PLAN"), "report"),
    **dict.fromkeys(("DOC", "M3D"), "document"),
    **dict.fromkeys(("RTSTRUCT", "RTPLAN", "RTDOSE", "RTRECORD", "RTSEGANN"), "rt"),
    **dict.fromkeys(("ECG", "EEG", "EMG", "EOG", "EPS", "HD", "RESP", "AU"), "waveform"),
    "PR": "state",
}
VIDEO_SYNTAXES = tuple(f"1.2.840.10008.1.2.4.{number}" for number in range(100, 109))
"""MPEG2, MPEG-4 and HEVC transfer syntaxes."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One frame of a file; both are counted from 0 in `frame`, from 1 in `number` (of all of its series)."""

    number: int
    total: int
    file: File
    instance: Instance
    frame: int
    kind: Kind


def kind_of(instance: Instance) -> Kind:
    """What the object is to the eye."""
    for beginning, kind in KIND_BY_CLASS_PREFIX:
        if instance.sop_class.startswith(beginning) and instance.sop_class != RT_IMAGE:
            return kind
    if instance.transfer_syntax in VIDEO_SYNTAXES:
        return "video"
    return "picture" if instance.rows and instance.columns else "other"


def kind_of_modality(modality: str) -> Kind:
    """The same by the modality of a series, for a list that looks at no object."""
    return KIND_BY_MODALITY.get(modality, "picture")


def get_series(series_id: int, scope: Scope) -> Series:
    """A series that has something to show. Raises Missing where there is none, or the scope does not reach it."""
    found = Series.select(Series, Study).join(Study).where(Series.id == series_id, Series.n_instances > 0)
    row: Series | None = found.where(Study.project.in_(scope.projects)).get_or_none()
    if row is None:
        raise Missing("There is no series with this number, or it is not yours to see.")
    return row


def series_of_acquisition(acquisition_id: int) -> Series | None:
    """The series that an acquisition holds, if it has something to show."""
    found: Series | None = Series.get_or_none(Series.acquisition == acquisition_id, Series.n_instances > 0)
    return found


def frame_of_series(row: Series, number: int) -> Frame:
    """Frame `number` of a series, from 1, in the order of instance numbers; past the last one the last."""
    counts = _counts(row)
    total = sum(count for _, count in counts)
    wanted = max(1, min(number, total))
    before = 0
    for instance_id, count in counts:
        if wanted <= before + count:
            return _spot(instance_id, wanted - before - 1, wanted, total)
        before += count
    raise Missing("The series has no object that is shown.")


def middle_frame(row: Series) -> Frame:
    """The frame that stands for a series: the one in its middle."""
    skip = (row.n_instances - 1) // 2
    found = _ordered(row).limit(1).offset(skip).first() or _ordered(row).first()
    if found is None:
        raise Missing("The series has no object that is shown.")
    return _spot(found.id, (_frames(found) - 1) // 2, 1, 1)


def frame_of_file(file: File, frame: int | None = None) -> Frame:
    """A frame of one file, from 0; the middle one where none is named.

    Raises Missing for a file that is no object, and for a frame that it does not have.
    """
    instance = Instance.select().where(Instance.file == file.id).order_by(Instance.id).first()
    if instance is None:
        raise Missing("The file is no DICOM object that is indexed.")
    total = _frames(instance)
    chosen = (total - 1) // 2 if frame is None else frame
    if not 0 <= chosen < total:
        raise Missing(f"The file has {total:,} frames." if total > 1 else "The file has one frame.")
    return Frame(number=chosen + 1, total=total, file=file, instance=instance, frame=chosen, kind=kind_of(instance))


def _ordered(row: Series) -> Any:
    shown = Instance.select().where(Instance.series == row.id, Instance.state == CURRENT)
    return shown.order_by(Instance.number.cast("INTEGER"), Instance.id)


def _counts(row: Series) -> Sequence[tuple[int, int]]:
    """Number and frames of each object of a series, in their order."""
    frames = fn.MAX(fn.COALESCE(Instance.frames, 1), 1)
    return list(_ordered(row).select(Instance.id, frames).tuples())


def _frames(instance: Instance) -> int:
    return max(1, instance.frames or 1)


def _spot(instance_id: int, frame: int, number: int, total: int) -> Frame:
    instance = Instance.select(Instance, File, Blob).join(File).join(Blob).where(Instance.id == instance_id).get()
    return Frame(number=number, total=total, file=instance.file, instance=instance, frame=frame, kind=kind_of(instance))
