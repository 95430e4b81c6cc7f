"""Purged records, the state of segments whose records are all purged, and the start of a purge."""

from peewee import CharField, IntegerField

from portal.models.base import Table, UtcField, now


class PurgedRecord(Table):
    segment = CharField()
    offset = IntegerField()
    size = IntegerField()
    state = CharField(default="waiting")
    purged = UtcField(default=now)
    due = UtcField(default=now)

    class Meta:
        indexes = ((("segment", "offset"), True), (("state", "due"), False))


def up(migrator, db):
    db.create_tables([PurgedRecord])
    migrator.migrate(
        migrator.add_column("closed_segment", "state", CharField(default="")),
        migrator.add_index("closed_segment", ("state",), False),
        migrator.add_column("trash", "purging", UtcField(null=True)),
    )
