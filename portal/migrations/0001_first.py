"""The first release: an empty database gets its tables from the models."""


def up(migrator, db):
    """Nothing to do."""
