"""Small objects to query for, and a querying peer that reads each answer as it crosses the wire."""

import io
import itertools
from typing import Any

from archive_fixtures import CT_IMAGE_STORAGE, PEER, encode
from pydicom import DataElement, Dataset
from pydicom.datadict import dictionary_VR
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian

from portal.access import rights
from portal.access.rights import Scope
from portal.ingest import incoming as ingest
from portal.ingest.incoming import Placement
from portal.ingest.register import Stored
from portal.models import Project
from portal.query import find as query
from portal.query.find import Match
from portal.query.identifiers import Root

_numbers = itertools.count(1)


def new_uid() -> str:
    return f"1.2.826.0.1.3680043.9.1.{next(_numbers)}"


def an_image(study: str | None = None, series: str | None = None, **elements: Any) -> Dataset:
    """An object of the least size that is indexed, with any elements besides."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = CT_IMAGE_STORAGE, new_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study or new_uid(), series or new_uid()
    ds.PatientID, ds.Modality = "P1", "CT"
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return ds


def keep(project: Project, study: str | None = None, series: str | None = None, **elements: Any) -> Dataset:
    """Store such an object in a project."""
    ds = an_image(study, series, **elements)
    store_to(project, encode(ds), sop_class=ds.SOPClassUID, uid=ds.SOPInstanceUID)
    return ds


def store_to(
    project: Project, data: bytes, *, sop_class: str, uid: str, syntax: str = ExplicitVRLittleEndian
) -> Stored:
    """Store a data set in the project whose title was called, also where another project holds its study."""
    with ingest.open(
        scope=rights.scope(PEER),
        origin=PEER.origin,
        placement=Placement(called_project=project.id),
        sop_class_uid=sop_class,
        sop_instance_uid=uid,
        transfer_syntax_uid=syntax,
    ) as incoming:
        incoming.write(data)
        return incoming.commit()


def request(level: str, **keys: Any) -> Dataset:
    """An identifier, with values that pydicom would not let pass."""
    ds = Dataset()
    for keyword, value in {"QueryRetrieveLevel": level, **keys}.items():
        tag = Tag(keyword)
        vr = dictionary_VR(tag)
        ds[tag] = DataElement(tag, vr, value, already_converted=vr in ("IS", "DA", "TM", "UI"))
    return ds


def over_the_wire(ds: Dataset, *, implicit: bool = False) -> Dataset:
    """The data set as the other side reads it."""
    target = DicomBytesIO()
    target.is_little_endian, target.is_implicit_VR = True, implicit
    write_dataset(target, ds)
    return read_dataset(io.BytesIO(target.getvalue()), implicit, True)


def matches(ds: Dataset, scope: Scope, root: Root = "study", **options: str) -> list[Match]:
    return list(query.find(over_the_wire(ds), scope, root=root, **options))


def find(scope: Scope, level: str, *, root: Root = "study", **keys: Any) -> list[Dataset]:
    """The answers to a query, as the peer reads them."""
    return [over_the_wire(match.identifier) for match in matches(request(level, **keys), scope, root)]


def found(scope: Scope, *, level: str = "STUDY", root: Root = "study", answer: str = "", **keys: Any) -> list[str]:
    """One attribute of each answer, sorted; by default the unique key of the level."""
    unique = {"PATIENT": "PatientID", "STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID"}
    name = answer or unique.get(level, "SOPInstanceUID")
    keys.setdefault(name, "")
    return sorted(str(ds[name].value or "") for ds in find(scope, level, root=root, **keys))
