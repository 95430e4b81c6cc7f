"""Frames: those of a series in their order, and which kinds of objects have any."""

from dataclasses import dataclass
from typing import Any, Literal

from peewee import fn

from portal.access.rights import Scope
from portal.dicom.sop_classes import VIDEO_SYNTAXES
from portal.errors import Missing
from portal.models import CURRENT, Blob, File, Instance, Series, Study

Kind = Literal["picture", "report", "document", "rt", "video", "waveform", "state", "other"]
"""How an object is displayed: `picture` as an image, all others as an icon."""

RT_IMAGE = "1.2.840.10008.5.1.4.1.1.481.1"
KIND_BY_CLASS_PREFIX: tuple[tuple[str, Kind], ...] = (
    ("1.2.840.10008.5.1.4.1.1.88.", "report"),
    ("1.2.840.10008.5.1.4.1.1.104.", "document"),
    ("1.2.840.10008.5.1.4.1.1.481.", "rt"),
    ("1.2.840.10008.5.1.4.1.1.9.", "waveform"),
    ("1.2.840.10008.5.1.4.1.1.11.", "state"),
)
"""SOP Classes by the prefix of their UID (PS3.4 B.5)."""
KIND_BY_MODALITY: dict[str, Kind] = {
    **dict.fromkeys(("SR", "KO", "PLAN"), "report"),
    **dict.fromkeys(("DOC", "M3D"), "document"),
    **dict.fromkeys(("RTSTRUCT", "RTPLAN", "RTDOSE", "RTRECORD", "RTSEGANN"), "rt"),
    **dict.fromkeys(("ECG", "EEG", "EMG", "EOG", "EPS", "HD", "RESP", "AU"), "waveform"),
    "PR": "state",
}


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One frame: `frame` is its index in its file, from 0; `number` its place among all of its series, from 1."""

    number: int
    total: int
    file: File
    instance: Instance
    frame: int
    kind: Kind


def kind_of(instance: Instance) -> Kind:
    """How the object is displayed."""
    for prefix, kind in KIND_BY_CLASS_PREFIX:
        if instance.sop_class.startswith(prefix) and instance.sop_class != RT_IMAGE:
            return kind
    if instance.transfer_syntax in VIDEO_SYNTAXES:
        return "video"
    return "picture" if instance.rows and instance.columns else "other"


def kind_of_modality(modality: str) -> Kind:
    """The same by the modality of a series, for a list that reads no object."""
    return KIND_BY_MODALITY.get(modality, "picture")


def get_series(series_id: int, scope: Scope) -> Series:
    """A series with objects that are shown. Raises Missing where there is none, or the scope does not reach it."""
    shown = Series.select(Series, Study).join(Study).where(Series.id == series_id, Series.n_instances > 0)
    series: Series | None = shown.where(Study.project.in_(scope.projects)).get_or_none()
    if series is None:
        raise Missing("There is no series with this number, or you do not have access to it.")
    return series


def series_of_acquisition(acquisition_id: int) -> Series | None:
    """The series of an acquisition, if it has objects that are shown."""
    series: Series | None = Series.get_or_none(Series.acquisition == acquisition_id, Series.n_instances > 0)
    return series


def frame_of_series(series: Series, number: int) -> Frame:
    """Frame `number` of a series, from 1, in the order of instance numbers; past the last one the last."""
    frames = fn.MAX(fn.COALESCE(Instance.frames, 1), 1)
    counts: list[tuple[int, int]] = list(_ordered(series).select(Instance.id, frames).tuples())
    total = sum(count for _, count in counts)
    wanted = max(1, min(number, total))
    before = 0
    for instance_id, count in counts:
        if wanted <= before + count:
            return _read(instance_id, wanted - before - 1, wanted, total)
        before += count
    raise Missing("The series has no object that is shown.")


def middle_frame(series: Series) -> Frame:
    """The frame in the middle of a series, which represents it in lists."""
    skip = (series.n_instances - 1) // 2
    instance = _ordered(series).limit(1).offset(skip).first() or _ordered(series).first()
    if instance is None:
        raise Missing("The series has no object that is shown.")
    return _read(instance.id, (_frames(instance) - 1) // 2, 1, 1)


def frame_of_file(file: File, frame: int | None = None, *, instance_id: int | None = None) -> Frame:
    """A frame of one file, from 0; without a number the middle one. Of a zip, that of an instance, or of the first.

    Raises Missing for a file that is no DICOM object, and for a frame that it does not have.
    """
    instances = Instance.select().where(Instance.file == file.id).order_by(Instance.id)
    instance = (instances if instance_id is None else instances.where(Instance.id == instance_id)).first()
    if instance is None:
        raise Missing("The file is no DICOM object that is indexed.")
    total = _frames(instance)
    chosen = (total - 1) // 2 if frame is None else frame
    if not 0 <= chosen < total:
        raise Missing(f"The file has {total:,} frames." if total > 1 else "The file has one frame.")
    return Frame(number=chosen + 1, total=total, file=file, instance=instance, frame=chosen, kind=kind_of(instance))


def _ordered(series: Series) -> Any:
    shown = Instance.select().where(Instance.series == series.id, Instance.state == CURRENT)
    return shown.order_by(Instance.number.cast("INTEGER"), Instance.id)


def _frames(instance: Instance) -> int:
    return max(1, instance.frames or 1)


def _read(instance_id: int, frame: int, number: int, total: int) -> Frame:
    instance = Instance.select(Instance, File, Blob).join(File).join(Blob).where(Instance.id == instance_id).get()
    return Frame(number=number, total=total, file=instance.file, instance=instance, frame=frame, kind=kind_of(instance))
