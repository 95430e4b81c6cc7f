"""`portal audit` prints what the page of the audit log shows, in the form that a script reads."""

import csv
import io
import json

from tests.fixtures.cli import Portal


def test_the_audit_log_is_printed_in_words_as_json_lines_and_as_csv(portal: Portal) -> None:
    portal.ok("user", "add", "ann@site.example", "--admin")
    portal.ok("device", "add", "CT Connector", "--type", "connector")
    text = portal("audit").out.splitlines()
    assert text[0].endswith("Z  system operator added device CT Connector")
    assert text[-1].endswith("Z  system operator created user ann@site.example")

    lines = [json.loads(line) for line in portal("audit", "--jsonl", "--actor", "operator").out.splitlines()]
    assert [line["action"] for line in lines] == ["device:added", "user:added"]
    assert lines[0]["target"] == {"type": "device", "id": "1", "name": "CT Connector"}
    assert portal.ok("audit", "--kind", "access") == [line for line in lines if line["action"] == "user:added"]

    rows = list(csv.DictReader(io.StringIO(portal("audit", "--csv", "--target", "ct connector").out.lstrip("\ufeff"))))
    assert [row["In words"] for row in rows] == ["system operator added device CT Connector"]


def test_days_and_names_that_nothing_has_find_nothing(portal: Portal) -> None:
    portal.ok("user", "add", "ann@site.example", "--admin")
    assert portal.ok("audit", "--to", "2020-01-01") == []
    assert portal.ok("audit", "--actor", "nobody") == []
    assert portal("audit", "--from", "2020-01-01").out.count("\n") == 1


def test_a_day_that_is_none_and_an_unknown_kind_are_refused(portal: Portal) -> None:
    ended = portal("audit", "--from", "yesterday")
    assert (ended.code, ended.out) == (1, "")
    assert "Write it like 2026-11-28" in ended.err
    assert portal("audit", "--kind", "nonsense").code == 2
