"""Tables of completely indexed segments, and of records that cannot be indexed."""

from peewee import CharField, IntegerField, TextField

from portal.models.base import Table, UtcField, now


class ClosedSegment(Table):
    name = CharField(unique=True)
    size = IntegerField()


class QuarantinedRecord(Table):
    segment = CharField()
    offset = IntegerField()
    size = IntegerField()
    digest = CharField(default="")
    project = CharField(default="")
    name = CharField(default="")
    message = TextField()
    received = CharField(default="")
    found = UtcField(default=now)
    noted = UtcField(null=True)

    class Meta:
        indexes = ((("segment", "offset"), True),)


def up(migrator, db):
    db.create_tables([ClosedSegment, QuarantinedRecord])
