"""The first release: its tables are what an empty database gets."""


def up(migrator, db):
    """Nothing is left to do."""
