"""A column for the elements that differ in a conflict, and an index to find the conflicts of one object."""

from peewee import TextField
from playhouse.migrate import migrate


def up(migrator, db):
    migrate(
        migrator.add_column("conflict", "differs", TextField(default="")),
        migrator.add_index("conflict", ("sop_uid", "project_id")),
    )
