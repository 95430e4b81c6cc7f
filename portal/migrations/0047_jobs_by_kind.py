"""Jobs are counted by kind and state from an index alone."""


def up(migrator, db):
    migrator.migrate(migrator.add_index("job", ("kind", "state"), False))
