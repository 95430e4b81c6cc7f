"""A lease counts from boot. Existing jobs get none: during the upgrade no job runs."""

from peewee import CharField, IntegerField


def up(migrator, db):
    migrator.migrate(
        migrator.drop_column("job", "lease"),
        migrator.add_column("job", "lease", IntegerField(null=True)),
        migrator.add_column("job", "boot", CharField(default="")),
    )
