"""The tree: containers and files by their labels, and the blobs and segments with their bytes."""

from peewee import SQL, BlobField, CharField, Check, ForeignKeyField, IntegerField

from portal.models.base import JsonField, Owned, Table, UtcField, now


class Described(Owned):
    """A container of which programs say more than its label; each column has its default in the table too."""

    info = JsonField(default=dict, constraints=[SQL("DEFAULT '{}'")])
    tags = JsonField(default=list, constraints=[SQL("DEFAULT '[]'")])
    notes = JsonField(default=list, constraints=[SQL("DEFAULT '[]'")])
    """Objects with _id, text, user, created and modified, the oldest first."""


class Group(Owned):
    code = CharField(unique=True)
    label = CharField()
    tags = JsonField(default=list, constraints=[SQL("DEFAULT '[]'")])

    class Meta:
        table_name = "container_group"


class Project(Described):
    group = ForeignKeyField(Group, backref="projects")
    group_id: int
    label = CharField()
    ae_title = CharField(null=True, unique=True)

    class Meta:
        indexes = ((("group", "label"), True),)


class Usage(Table):
    """The size of a project when it was last counted: a large site takes too long to count for a page."""

    project = ForeignKeyField(Project, unique=True, backref="+", on_delete="CASCADE")
    project_id: int
    files = IntegerField()
    size = IntegerField()
    counted = UtcField(default=now)


class Trash(Owned):
    """An item that was moved to the trash, by whom and when; everything in it refers to this row."""

    kind = CharField(constraints=[Check("kind IN ('file', 'acquisition', 'session', 'subject')")])
    target = IntegerField()
    """Row number of the file or container."""
    project = ForeignKeyField(Project, backref="+")
    project_id: int
    label = CharField()
    files = IntegerField()
    size = IntegerField()
    """Bytes of the files."""
    job = IntegerField(null=True)
    """Number of the job that moves or restores it, where it is too large for a request. No foreign key: jobs expire."""
    purging = UtcField(null=True)
    """The start of its purge, after which it cannot be restored."""


class Subject(Described):
    trash = IntegerField(null=True)
    """Number of its Trash row. No foreign key: each arrival would have to update its index."""
    project = ForeignKeyField(Project, backref="subjects")
    project_id: int
    label = CharField()
    patient_id = CharField(default="")
    issuer = CharField(default="")

    class Meta:
        indexes = ((("project", "label"), False),)


Subject.add_index(
    Subject.index(Subject.project, Subject.patient_id, Subject.issuer, unique=True).where(Subject.patient_id != "")
)
Subject.add_index(
    SQL(
        "CREATE INDEX IF NOT EXISTS subject_live_label ON subject (project_id, label COLLATE NOCASE) "
        "WHERE trash IS NULL"
    )
)
"""To list, search and count the subjects of a project."""


class Session(Described):
    trash = IntegerField(null=True)
    subject = ForeignKeyField(Subject, backref="sessions")
    subject_id: int
    label = CharField()
    uid = CharField(null=True)
    timestamp = UtcField(null=True)

    class Meta:
        indexes = ((("subject", "uid"), True),)


class Acquisition(Described):
    trash = IntegerField(null=True)
    session = ForeignKeyField(Session, backref="acquisitions")
    session_id: int
    label = CharField()
    uid = CharField(null=True)
    timestamp = UtcField(null=True)

    class Meta:
        indexes = ((("session", "uid"), True),)


class Blob(Table):
    """One record of the archive: bytes as received, at an offset of a segment."""

    digest = CharField(index=True)
    """SHA-256 of all bytes, in hex."""
    dataset_digest = CharField(null=True)
    """SHA-256 of the data set alone, which follows the file meta information."""
    dataset_offset = IntegerField(null=True)
    """Offset of the data set in the record's content."""
    segment = CharField()
    offset = IntegerField()
    """Offset of the content in the segment's file."""
    size = IntegerField()

    class Meta:
        indexes = ((("segment", "offset"), True),)


class Segment(Table):
    """A closed segment of the archive that is or will be replicated to the bucket."""

    name = CharField(unique=True)
    size = IntegerField()
    digest = CharField(default="")
    """SHA-256 of the whole segment, in hex; empty until it has been read once."""
    since = UtcField(default=now)
    """When it was found to be closed."""
    verified = UtcField(null=True)
    """When the copy in the bucket was verified: from then on the local copy may be deleted."""
    message = CharField(default="")
    """Why it is not replicated yet."""
    damage = CharField(default="")
    """Damage of the copy in the bucket."""
    blocks = BlobField(default=b"")
    """SHA-256 of each block, concatenated. The last column, because most queries skip it."""

    class Meta:
        indexes = ((("verified", "size"), False),)


Session.add_index(Session.index(Session.uid, name="session_uid").where(Session.uid.is_null(False)))
Acquisition.add_index(Acquisition.index(Acquisition.uid, name="acquisition_uid").where(Acquisition.uid.is_null(False)))
"""To find by a UID alone what a reaper sends."""


Segment.add_index(Segment.index(Segment.id, name="segment_damaged").where(Segment.damage != SQL("''")))
Segment.add_index(Segment.index(Segment.verified, name="segment_unknown").where(Segment.digest == SQL("''")))


DICOM = "application/dicom"
"""The mimetype of each file that is one DICOM object, and of no other file."""


class File(Owned):
    parent_type = CharField(constraints=[Check("parent_type IN ('project', 'subject', 'session', 'acquisition')")])
    parent_id = IntegerField()
    name = CharField()
    version = IntegerField(default=1)
    blob = ForeignKeyField(Blob, backref="files")
    blob_id: int
    type = CharField(null=True)
    mimetype = CharField(null=True)
    modality = CharField(null=True)
    classification = JsonField(default=dict)
    """Name → list of texts, as programs set it."""
    info = JsonField(default=dict)
    tags = JsonField(default=list)
    notes = JsonField(default=list)
    zip_member_count = IntegerField(null=True)
    deleted_at = UtcField(null=True)
    trash = IntegerField(null=True)
    """With `deleted_at`: number of the Trash row from which it can be restored."""


File.add_index(
    File.index(File.parent_type, File.parent_id, File.name, unique=True, name="file_live_name").where(
        File.deleted_at.is_null()
    )
)

File.add_index(
    File.index(File.parent_type, File.parent_id, name="file_trashed_parent").where(File.deleted_at.is_null(False))
)


File.add_index(
    File.index(File.origin_id, name="file_of_device").where(
        File.origin_type == SQL("'device'"), File.deleted_at.is_null()
    )
)


for _table in (Subject, Session, Acquisition, File):
    _name = f"{_table._meta.table_name}_trash"
    _table.add_index(_table.index(_table.trash, _table.id, name=_name).where(_table.trash.is_null(False)))


class FileVersion(Table):
    """An earlier version of a file: its bytes are kept as long as the row."""

    file = ForeignKeyField(File, backref="versions", on_delete="CASCADE")
    file_id: int
    version = IntegerField()
    blob = ForeignKeyField(Blob, backref="+")
    blob_id: int
    origin_type = CharField()
    origin_id = CharField()
    origin_via = CharField()
    created = UtcField(default=now)
    replaced = UtcField(default=now)

    class Meta:
        indexes = ((("file", "version"), True),)
