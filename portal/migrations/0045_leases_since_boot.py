"""A lease is of the time since boot. Jobs that run at the upgrade have none: nothing runs then."""

from peewee import CharField, IntegerField


def up(migrator, db):
    migrator.migrate(
        migrator.drop_column("job", "lease"),
        migrator.add_column("job", "lease", IntegerField(null=True)),
        migrator.add_column("job", "boot", CharField(default="")),
    )
