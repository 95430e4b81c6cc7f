"""The DICOM index: attributes of the objects. Never edited; `portal reindex` rebuilds it."""

from typing import Any

from peewee import SQL, BlobField, BooleanField, CharField, ForeignKeyField, IntegerField, TextField

from portal.models.base import Table, UtcField, now
from portal.models.tree import Acquisition, Blob, File, Project, Session

CURRENT = "current"
ALTERNATE = "alternate"
HELD = "held"
SUPERSEDED = "superseded"


class Study(Table):
    project = ForeignKeyField(Project, backref="studies")
    project_id: int
    study_uid = CharField()
    session = ForeignKeyField(Session, null=True, backref="studies")
    session_id: int | None
    patient_name = TextField(default="")
    """All component groups in NFC, trailing delimiters cut."""
    patient_name_folded = TextField(default="", index=True)
    patient_id = CharField(default="")
    issuer = CharField(default="")
    sex = CharField(default="")
    birth_date = CharField(default="")
    date = CharField(default="", index=True)
    time = CharField(default="")
    accession = CharField(default="", index=True)
    study_id = CharField(default="")
    description = TextField(default="")
    referring = TextField(default="")
    referring_folded = TextField(default="")
    modalities = TextField(default="")
    r"""Modalities of the series, sorted, each between backslashes: `\CT\SR\`."""
    n_series = IntegerField(default=0)
    n_instances = IntegerField(default=0)
    source = IntegerField(null=True)
    """Number of the file from which this row is taken. No foreign key: each arrival would have to update its index."""
    next_source = IntegerField(null=True)
    """Number of the file from which it will be taken soon (`descriptions.refresh`); 0 for any current one."""
    header = BlobField(null=True)
    """Elements of that object in Explicit VR Little Endian, without large values, for return keys."""

    class Meta:
        indexes = (
            (("project", "study_uid"), True),
            (("study_uid", "project"), False),
            (("patient_id", "issuer"), False),
        )


Study.add_index(SQL("CREATE INDEX IF NOT EXISTS study_name_groups ON study (INSTR(patient_name_folded, '='))"))
for _column in ("patient_id", "accession"):  # for the search box; DIMSE matches exactly
    Study.add_index(SQL(f"CREATE INDEX IF NOT EXISTS study_{_column}_typed ON study ({_column} COLLATE NOCASE)"))


class Series(Table):
    study = ForeignKeyField(Study, backref="series")
    study_id: int
    series_uid = CharField(index=True)
    acquisition = ForeignKeyField(Acquisition, null=True, backref="series")
    acquisition_id: int | None
    modality = CharField(default="")
    number = CharField(default="")
    description = TextField(default="")
    body_part = CharField(default="")
    date = CharField(default="")
    time = CharField(default="")
    n_instances = IntegerField(default=0)
    source = IntegerField(null=True)
    """Number of the file from which this row is taken. No foreign key: each arrival would have to update its index."""
    next_source = IntegerField(null=True)
    """Number of the file from which it will be taken soon (`descriptions.refresh`); 0 for any current one."""
    header = BlobField(null=True)

    class Meta:
        indexes = ((("study", "series_uid"), True),)


def needs_refresh(table: type[Study] | type[Series]) -> tuple[Any, ...]:
    """The conditions for rows that have to be taken from another file; the same as in the partial index."""
    return table.next_source.is_null(False), table.n_instances > SQL("0")


for _table in (Study, Series):
    _name = f"{_table._meta.table_name}_next_source"
    _table.add_index(_table.index(_table.id, name=_name).where(*needs_refresh(_table)))


class Instance(Table):
    project = ForeignKeyField(Project, backref="+")
    project_id: int
    series = ForeignKeyField(Series, backref="instances")
    series_id: int
    file = ForeignKeyField(File, backref="instances")
    file_id: int
    member = CharField(default="")
    """Name within a ZIP file; empty where the file is the object itself."""
    sop_uid = CharField()
    sop_class = CharField()
    transfer_syntax = CharField()
    dataset_digest = CharField()
    number = CharField(default="")
    date = CharField(default="")
    time = CharField(default="")
    rows = IntegerField(null=True)
    columns = IntegerField(null=True)
    frames = IntegerField(null=True)
    state = CharField(default=CURRENT)
    reason = TextField(default="")

    class Meta:
        indexes = ((("series", "sop_uid"), False), (("sop_uid", "project"), False), (("file", "member"), True))


Instance.add_index(
    Instance.index(Instance.project, Instance.sop_uid, unique=True, name="instance_current").where(
        Instance.state == CURRENT
    )
)


class ZipMember(Table):
    """Where an instance is that is a member of a zip; an instance that is a file of its own has no row here."""

    instance = ForeignKeyField(Instance, unique=True, backref="+", on_delete="CASCADE")
    instance_id: int
    blob = ForeignKeyField(Blob, backref="+")
    """The zip: that of the file, or until the file is settled that of the version before."""
    blob_id: int
    offset = IntegerField()
    """Offset of the member's packed bytes in the zip."""
    packed_size = IntegerField()
    size = IntegerField()
    is_deflated = BooleanField()
    dataset_offset = IntegerField()
    """Offset of the data set in the member."""


class DicomZip(Table):
    """A file that is a zip with DICOM objects, each of which is an instance once the zip is settled."""

    file = ForeignKeyField(File, unique=True, backref="+", on_delete="CASCADE")
    file_id: int
    objects = IntegerField()
    """Members that are DICOM objects; 0 once a newer version of the file has none."""
    is_settled = BooleanField(default=False)
    """Whether its instances are those of its members; a kill leaves it unsettled (docs/decisions/0094)."""
    since = UtcField(default=now)
    """When somebody last worked on it."""


DicomZip.add_index(DicomZip.index(DicomZip.id, name="dicom_zip_unsettled").where(DicomZip.is_settled == SQL("0")))


def is_held_back(instance: Any) -> Any:
    """Whether its file is left out of exports: of a zip, only if a member waits for an admin."""
    return (instance.state == HELD) | ((instance.state == SUPERSEDED) & (instance.member == ""))


class Conflict(Table):
    """An object in conflict, hidden from peers until an admin decides (docs/decisions/0083)."""

    file = ForeignKeyField(File, backref="+", on_delete="CASCADE")
    file_id: int
    member = CharField(default="")
    """Name of the object's member, where the file is a zip."""
    project = ForeignKeyField(Project, backref="+")
    project_id: int
    sop_uid = CharField()
    kind = CharField()
    """What differs: content | patient | study | class."""
    message = TextField()
    differs = TextField(default="")
    """Keywords of the differing elements, where the objects were compared."""
    choice = CharField(default="open", index=True)
    """open | keep | replace | separate."""

    class Meta:
        indexes = ((("sop_uid", "project"), False), (("file", "member"), True))


class Decision(Table):
    """The choices of admins in their order; the last one of a conflict applies."""

    conflict = ForeignKeyField(Conflict, backref="decisions", on_delete="CASCADE")
    conflict_id: int
    choice = CharField()
    rival = ForeignKeyField(File, null=True, backref="+", on_delete="SET NULL")
    rival_id: int | None
    """The file that was replaced, where the choice was replace."""
    rival_member = CharField(default="")
    """The member that was replaced, where that file is a zip."""
