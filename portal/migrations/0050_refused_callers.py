"""What a refused caller asked for, and when it was let in after all."""

from portal.models.base import JsonField, UtcField


def up(migrator, db):
    migrator.migrate(
        migrator.add_column("caller", "wanted", JsonField(default=list)),
        migrator.add_column("caller", "resolved", UtcField(null=True)),
    )
