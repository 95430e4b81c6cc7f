"""Tables and columns for instances, and conflicts, of objects that are members of a zip."""

from peewee import BooleanField, ForeignKeyField, IntegerField

from portal.models.base import Table, UtcField, now
from portal.models.index import Instance
from portal.models.tree import Blob, File


class ZipMember(Table):
    instance = ForeignKeyField(Instance, unique=True, backref="+", on_delete="CASCADE")
    blob = ForeignKeyField(Blob, backref="+")
    offset = IntegerField()
    packed_size = IntegerField()
    size = IntegerField()
    is_deflated = BooleanField()
    dataset_offset = IntegerField()


class DicomZip(Table):
    file = ForeignKeyField(File, unique=True, backref="+", on_delete="CASCADE")
    objects = IntegerField()
    is_settled = BooleanField(default=False)
    since = UtcField(default=now)


def up(migrator, db):
    db.create_tables([ZipMember, DicomZip])
    db.execute_sql("CREATE INDEX dicom_zip_unsettled ON dicom_zip (id) WHERE is_settled = 0")
    # A file that is a zip may hold several objects in conflict.
    for table, column in (("conflict", "member"), ("decision", "rival_member")):
        db.execute_sql(f"ALTER TABLE {table} ADD COLUMN {column} VARCHAR(255) NOT NULL DEFAULT ''")
    db.execute_sql("DROP INDEX conflict_file_id")
    db.execute_sql("CREATE INDEX conflict_file_id ON conflict (file_id)")
    db.execute_sql("CREATE UNIQUE INDEX conflict_file_id_member ON conflict (file_id, member)")
    # An item of a send is one object.
    db.execute_sql("ALTER TABLE job_item ADD COLUMN member VARCHAR(255)")
