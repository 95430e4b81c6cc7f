"""A table of the fingerprints of key files, by which a database knows its own; filled at the next start."""

from peewee import CharField

from portal.models.base import Table, UtcField, now


class SiteKey(Table):
    fingerprint = CharField()
    since = UtcField(default=now)


def up(migrator, db):
    db.create_tables([SiteKey])
