"""The rules that say into which project an object goes that no called AE title, study or peer has placed."""

from peewee import BooleanField, CharField, ForeignKeyField, IntegerField

from portal.models.base import Table, UtcField, now
from portal.models.interfaces import Peer
from portal.models.tree import Project


class RoutingRule(Table):
    origin_type = CharField(default="system")
    origin_id = CharField(default="")
    origin_via = CharField(default="")
    created = UtcField(default=now)
    modified = UtcField(default=now)
    position = IntegerField(index=True)
    enabled = BooleanField(default=True)
    peer = ForeignKeyField(Peer, null=True, backref="+", on_delete="CASCADE")
    called = CharField(default="")
    modality = CharField(default="")
    description = CharField(default="")
    body_part = CharField(default="")
    patient_id = CharField(default="")
    project = ForeignKeyField(Project, null=True, backref="+", on_delete="CASCADE")
    tag = CharField(default="")


def up(migrator, db):
    db.create_tables([RoutingRule])
