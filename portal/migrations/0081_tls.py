"""TLS: the site's certificate, whom each peer's certificate is issued by, and the version that an association used."""

from peewee import BooleanField, CharField, TextField

from portal.models.base import Table, UtcField, now


class SiteCertificate(Table):
    chain = TextField()
    fingerprint = CharField()
    expires = UtcField()
    installed = UtcField(default=now)


def up(migrator, db):
    db.create_tables([SiteCertificate])
    migrator.migrate(
        migrator.add_column("peer", "tls_name", CharField(default="")),
        migrator.add_column("peer", "tls_any_name", BooleanField(default=False)),
        migrator.add_column("peer", "issuers", TextField(default="")),
        migrator.add_column("peer", "pinned", TextField(default="")),
        migrator.add_column("association", "tls_version", CharField(default="")),
    )
