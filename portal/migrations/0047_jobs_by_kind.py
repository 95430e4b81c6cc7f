"""A covering index for counting jobs by kind and state."""


def up(migrator, db):
    migrator.migrate(migrator.add_index("job", ("kind", "state"), False))
