import pytest

from portal.models import Group, ordered_unions


@pytest.mark.usefixtures("site")
def test_the_different_values_of_a_column_are_each_found_once_in_their_order() -> None:
    Group.delete().execute()
    assert ordered_unions.distinct_values(Group.label) == []
    for code, label in (("a", "b"), ("b", ""), ("c", "b"), ("d", "Ä"), ("e", "a"), ("f", "a")):
        Group.create(code=code, label=label)
    assert ordered_unions.distinct_values(Group.label) == ["", "a", "b", "Ä"]
