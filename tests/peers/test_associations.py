import ast
from datetime import timedelta
from typing import Any

import pytest

from portal.jobs import sweep
from portal.models import Association, database, now
from portal.peers import associations
from portal.peers.associations import Progress
from tests.fixtures.web import statements

OTHER = "another-host 1 1"
"""A process that we cannot look at."""


def a_call(**columns: Any) -> Association:
    return Association.create(role="acceptor", calling="CT1", called="PORTICO", address="10.0.0.1", **columns)


def plan(sent: str) -> list[str]:
    """How SQLite goes about a statement."""
    sql, values = ast.literal_eval(sent)
    return [row[3] for row in database.execute_sql(f"EXPLAIN QUERY PLAN {sql}", values)]


@pytest.mark.usefixtures("site")
def test_the_look_for_lost_associations_reads_those_that_are_open_and_no_others() -> None:
    a_call(process=associations.process_identity())
    with statements() as sent:
        assert associations.mark_lost() == 0
    assert [line for each in sent for line in plan(each)] == [
        "SEARCH t1 USING INDEX association_outcome (outcome=?)",
    ]


@pytest.mark.usefixtures("site")
def test_an_association_of_a_process_that_is_gone_is_lost_once() -> None:
    mine = a_call(process=associations.process_identity())
    lost = a_call(process=OTHER, seen=now() - timedelta(minutes=5))
    associations.close(Progress(association_id=a_call().id, counts={}, size=0), outcome="released")
    assert associations.mark_lost() == 1
    assert associations.mark_lost() == 0
    assert [Association.get_by_id(row.id).outcome for row in (mine, lost)] == ["open", "lost"]


def test_the_sweep_of_jobs_reads_no_job_that_has_ended(queue: object) -> None:
    with statements() as sent:
        sweep.sweep()
    steps = [line for each in sent if "SELECT" in each or "UPDATE" in each for line in plan(each)]
    assert steps
    assert [line for line in steps if line.startswith("SCAN")] == []
