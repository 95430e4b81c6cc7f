"""The tree: where a thing is kept and what people call it."""

from peewee import SQL, BlobField, CharField, Check, ForeignKeyField, IntegerField

from portal.models.base import Owned, Table, UtcField, now


class Group(Owned):
    code = CharField(unique=True)
    label = CharField()

    class Meta:
        table_name = "container_group"


class Project(Owned):
    group = ForeignKeyField(Group, backref="projects")
    group_id: int
    label = CharField()
    ae_title = CharField(null=True, unique=True)

    class Meta:
        indexes = ((("group", "label"), True),)


class Usage(Table):
    """How much a project holds, as it was counted last: a large site is too much to be counted for a page."""

    project = ForeignKeyField(Project, unique=True, backref="+", on_delete="CASCADE")
    project_id: int
    files = IntegerField()
    size = IntegerField()
    counted = UtcField(default=now)


class Trash(Owned):
    """Something that was put into the trash, by whom and when; what lies in it points here."""

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
    """Number of the job that throws or restores it, where it is too much for a request; no foreign key: jobs go."""
    purging = UtcField(null=True)
    """Since when it is being purged: it cannot be restored any more."""


class Subject(Owned):
    trash = IntegerField(null=True)
    """Number of the Trash row that it waits in; no foreign key, whose index each arrival would have to keep."""
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
"""To list and to find the subjects of a project as people sort and type, and to count them."""


class Session(Owned):
    trash = IntegerField(null=True)
    subject = ForeignKeyField(Subject, backref="sessions")
    subject_id: int
    label = CharField()
    uid = CharField(null=True)
    timestamp = UtcField(null=True)

    class Meta:
        indexes = ((("subject", "uid"), True),)


class Acquisition(Owned):
    trash = IntegerField(null=True)
    session = ForeignKeyField(Session, backref="acquisitions")
    session_id: int
    label = CharField()
    uid = CharField(null=True)
    timestamp = UtcField(null=True)

    class Meta:
        indexes = ((("session", "uid"), True),)


class Blob(Table):
    """One record of the archive: bytes as they were received, at a place in a segment."""

    digest = CharField(index=True)
    """SHA-256 of all bytes, in hex."""
    dataset_digest = CharField(null=True)
    """SHA-256 of the data set alone: what follows the file meta information (design decision 3)."""
    dataset_offset = IntegerField(null=True)
    """Where the data set begins, counted from the first byte of the record's content."""
    segment = CharField()
    offset = IntegerField()
    """Where the content begins in the segment's file."""
    size = IntegerField()

    class Meta:
        indexes = ((("segment", "offset"), True),)


class Segment(Table):
    """A closed segment of the archive that lies in the bucket, or is to be brought there."""

    name = CharField(unique=True)
    size = IntegerField()
    digest = CharField(default="")
    """SHA-256 of the whole, in hex; empty until somebody has read it through."""
    since = UtcField(default=now)
    """When it was found closed."""
    verified = UtcField(null=True)
    """When the bucket gave back what was sent: from then on the copy here may go."""
    message = CharField(default="")
    """Why it is not there yet."""
    damage = CharField(default="")
    """What the bucket no longer gives back as it was."""
    blocks = BlobField(default=b"")
    """SHA-256 of each block, one behind the other. The last column, for most queries pass it by."""

    class Meta:
        indexes = ((("verified", "size"), False),)


Segment.add_index(Segment.index(Segment.id, name="segment_damaged").where(Segment.damage != SQL("''")))
Segment.add_index(Segment.index(Segment.verified, name="segment_unknown").where(Segment.digest == SQL("''")))


class File(Owned):
    parent_type = CharField(constraints=[Check("parent_type IN ('project', 'subject', 'session', 'acquisition')")])
    parent_id = IntegerField()
    name = CharField()
    version = IntegerField(default=1)
    blob = ForeignKeyField(Blob, backref="files")
    blob_id: int
    type = CharField(null=True)
    mimetype = CharField(null=True)
    deleted_at = UtcField(null=True)
    trash = IntegerField(null=True)
    """With `deleted_at`: where it is to be restored from."""


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
    """What a file was before: its bytes stay as long as the row does."""

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
