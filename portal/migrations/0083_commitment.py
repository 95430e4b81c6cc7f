"""Storage commitment: its transactions, and the peers that are asked after a send."""

from peewee import CharField, ForeignKeyField, TextField

from portal.models.base import Table, UtcField
from portal.models.interfaces import Peer
from portal.models.work import Job


class Commitment(Table):
    job = ForeignKeyField(Job, unique=True, backref="+", on_delete="CASCADE")
    peer = ForeignKeyField(Peer, null=True, backref="+", on_delete="SET NULL")
    role = CharField()
    transaction_uid = CharField()
    instances = TextField(default="")
    answered = UtcField(null=True)

    class Meta:
        indexes = ((("transaction_uid", "peer", "role"), False),)


def up(migrator, db):
    db.create_tables([Commitment])
    db.execute_sql("ALTER TABLE peer ADD COLUMN confirm_sends INTEGER NOT NULL DEFAULT 0")
