"""An item of an export says which version of its file it is; those that are there are of the version of then."""

from peewee import IntegerField
from playhouse.migrate import migrate


def up(migrator, db):
    migrate(migrator.add_column("job_item", "version", IntegerField(null=True)))
