"""What a row says to people is its message, as everywhere; the keys inside stored results follow."""


def up(migrator, db):
    for table in db.get_tables():
        if any(column.name == "sentence" for column in db.get_columns(table)):
            migrator.migrate(migrator.rename_column(table, "sentence", "message"))
    # A quote inside a text of JSON stands behind a backslash, so that only keys can match.
    db.execute_sql(
        """UPDATE job SET result = replace(result, '"sentence":', '"message":') WHERE result LIKE '%"sentence":%'"""
    )
