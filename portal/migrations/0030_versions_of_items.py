"""A column for the file version of an export item; existing items stay without one."""

from peewee import IntegerField
from playhouse.migrate import migrate


def up(migrator, db):
    migrate(migrator.add_column("job_item", "version", IntegerField(null=True)))
