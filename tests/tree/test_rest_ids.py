"""The ids of the REST interface."""

import pytest

from portal.errors import Missing
from portal.tree import rest_ids

TABLES = ["group", "project", "subject", "session", "acquisition", "file", "device", "user"]


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("row", [1, 2, 255, 2**31, 2**63 - 1])
def test_an_id_has_24_hex_digits_and_leads_back_to_its_row(table: str, row: int) -> None:
    text = rest_ids.encode(table, row)
    assert len(text) == 24
    assert set(text) <= set("0123456789abcdef")
    assert rest_ids.decode(text) == (table, row)


def test_ids_of_one_table_sort_as_its_rows_do() -> None:
    rows = [1, 9, 10, 99, 100, 16**5, 2**63 - 1]
    assert sorted(rest_ids.encode("file", row) for row in rows) == [rest_ids.encode("file", row) for row in rows]


def test_the_same_row_of_two_tables_has_two_ids() -> None:
    assert len({rest_ids.encode(table, 7) for table in TABLES}) == len(TABLES)


def test_ids_never_change_between_releases() -> None:
    assert rest_ids.encode("acquisition", 26) == "00050000000000000000001a"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "0" * 24,
        "0005" + "0" * 20,
        "0005" + "f" * 20,
        "ffff00000000000000000001",
        "00050000000000000000001A",
        "00050000000000000000001a\n",
        "0005000000000000000000١a",
        "../../../../etc/passwd12",
        "0" * 5000,
    ],
)
def test_a_text_that_is_no_id_is_missing(text: str) -> None:
    with pytest.raises(Missing):
        rest_ids.decode(text)


def test_the_id_of_another_table_is_missing() -> None:
    with pytest.raises(Missing, match="is the id of a subject, not of a session"):
        rest_ids.row_id(rest_ids.encode("subject", 3), "session")
