from collections.abc import Iterator
from typing import Any

import pytest

from portal.models import Group
from portal.models.compiled import Statement, text


@pytest.mark.usefixtures("site")
def test_a_statement_that_a_second_thread_runs_while_the_first_builds_it_has_all_its_values() -> None:
    Group.create(code="lab", label="Lab")
    meanwhile: list[list[tuple[Any, ...]]] = []

    class Query:
        """The query as Peewee has it, but for a second run that comes while the first reads its parameters."""

        def sql(self) -> tuple[str, Iterator[Any]]:
            sql, parameters = Group.select(Group.label).where(Group.code == text(0)).sql()
            return sql, self._slowly(parameters)

        def _slowly(self, parameters: list[Any]) -> Iterator[Any]:
            if not meanwhile:
                meanwhile.append([])
                meanwhile[0] = statement.rows("lab")
            yield from parameters

    statement = Statement(Query)
    assert statement.rows("lab") == [("Lab",)]
    assert meanwhile == [[("Lab",)]]
