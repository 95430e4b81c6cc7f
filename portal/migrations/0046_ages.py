"""For deleting old rows: daily sums of associations, and whether the list of a job's items is complete."""

from peewee import CharField, ForeignKeyField, IntegerField

from portal.models.base import Table


class Peer(Table):
    pass


class AssociationDay(Table):
    day = CharField()
    peer = ForeignKeyField(Peer, null=True, backref="+", on_delete="SET NULL")
    role = CharField()
    outcome = CharField()
    number = IntegerField(default=0)
    failures = IntegerField(default=0)
    stored = IntegerField(default=0)
    bytes = IntegerField(default=0)

    class Meta:
        indexes = ((("day", "peer", "role", "outcome"), False),)


def up(migrator, db):
    db.create_tables([AssociationDay])
    migrator.migrate(migrator.add_column("job", "items_kept", CharField(default="all")))
