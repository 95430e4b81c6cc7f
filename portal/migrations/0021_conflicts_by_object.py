"""A conflict says which elements differ, and those of one object are found by an index."""

from peewee import TextField
from playhouse.migrate import migrate


def up(migrator, db):
    migrate(
        migrator.add_column("conflict", "differs", TextField(default="")),
        migrator.add_index("conflict", ("sop_uid", "project_id")),
    )
