"""A table of problems of archive segments."""

from peewee import CharField, TextField

from portal.models.base import Table, UtcField, now


class SegmentProblem(Table):
    segment = CharField()
    kind = CharField()
    message = TextField()
    found = UtcField(default=now)

    class Meta:
        indexes = ((("segment", "kind"), True),)


def up(migrator, db):
    db.create_tables([SegmentProblem])
