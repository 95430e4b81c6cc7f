"""The services that a refused caller requested, and when it was accepted later."""

from portal.models.base import JsonField, UtcField


def up(migrator, db):
    migrator.migrate(
        migrator.add_column("caller", "wanted", JsonField(default=list)),
        migrator.add_column("caller", "resolved", UtcField(null=True)),
    )
