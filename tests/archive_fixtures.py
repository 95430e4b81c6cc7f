"""Real DICOM files for tests, and ways to take them in by either door."""

import io
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from portal.access import rights
from portal.access.actors import Actor
from portal.dicom import header
from portal.ingest import incoming as ingest
from portal.ingest.incoming import Incoming, Placement
from portal.ingest.register import Stored
from portal.models import Group, Project, database
from portal.tree import containers

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
PEER = Actor(type="peer", id="1", name="CT room", via="CT1 127.0.0.1", is_admin=True)


def vendor_file(name: str) -> Path:
    """A file of the pydicom wheel; never from the network."""
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    return Path(path)


def a_project(label: str = "trial", *, group: str = "neuro", actor: Actor) -> Project:
    if not Group.select().where(Group.code == group).exists():
        containers.add_group(group, actor=actor)
    return containers.add_project(f"{group}/{label}", actor=actor)


def encode(ds: Dataset, *, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """A data set as Explicit or Implicit VR Little Endian, without file meta."""
    target = DicomBytesIO()
    target.is_little_endian, target.is_implicit_VR = True, syntax == ImplicitVRLittleEndian
    write_dataset(target, ds)
    return target.getvalue()


def an_object(name: str = "CT_small.dcm", **changes: Any) -> Dataset:
    """A vendor object in Explicit VR Little Endian, with some elements changed."""
    ds = dcmread(vendor_file(name))
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    return ds


def begin(
    project: Project | None = None,
    *,
    sop_class: str = CT_IMAGE_STORAGE,
    uid: str = "1.2.3",
    syntax: str = ExplicitVRLittleEndian,
) -> Incoming:
    """Begin to take a data set in as C-STORE does."""
    return ingest.open(
        scope=rights.scope(PEER),
        origin=PEER.origin,
        placement=Placement(store_to=None if project is None else project.id),
        sop_class_uid=sop_class,
        sop_instance_uid=uid,
        transfer_syntax_uid=syntax,
    )


def store(ds: Dataset, project: Project | None = None) -> Stored:
    """Take a whole data set in as C-STORE does."""
    with begin(project, sop_class=ds.SOPClassUID, uid=ds.SOPInstanceUID) as incoming:
        incoming.write(encode(ds))
        return incoming.commit()


def store_vendor_file(name: str, project: Project | None = None) -> Stored:
    """Take the data set of a file in, in the file's own transfer syntax."""
    content = vendor_file(name).read_bytes()
    parsed, begins = header.read_file(io.BytesIO(content), len(content))
    with begin(project, sop_class=parsed.sop_class, uid=parsed.sop_uid, syntax=parsed.transfer_syntax) as incoming:
        incoming.write(content[begins:])
        return incoming.commit()


def upload(content: bytes, acquisition_id: int, name: str, *, actor: Actor) -> Stored:
    """Take a whole file in as the REST interface does."""
    with ingest.open(
        scope=rights.scope(actor),
        origin=actor.origin,
        placement=Placement(container_type="acquisition", container_id=acquisition_id, name=name, also_here=True),
    ) as incoming:
        incoming.write(content)
        return incoming.commit()


def with_another_pixel(content: bytes) -> bytes:
    """A file of uncompressed pixels, with the first one changed: other content under its UID."""
    first = content.rindex(b"\xe0\x7f\x10\x00") + 12
    return content[:first] + bytes([content[first] ^ 1]) + content[first + 1 :]


def dump() -> dict[str, list[tuple[Any, ...]]]:
    """Every row of the index."""
    return {
        table: database.execute_sql(f"SELECT * FROM {table} ORDER BY id").fetchall()
        for table in ("study", "series", "instance")
    }
