"""An alternate that stands in a second place is found by its reason, whose text has changed."""

OLD = "The same object stands elsewhere in this project too: peers see it once."
NEW = "The same object is also elsewhere in this project: peers see it once."


def up(migrator, db):
    db.execute_sql("UPDATE instance SET reason = ? WHERE reason = ?", (NEW, OLD))
