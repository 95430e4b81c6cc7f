"""The words in which an admin says what is exported and where it goes."""

import pytest

from portal.errors import BadValue
from portal.exports import conditions, key_template, rules

FACTS = {
    "project": "Trial/A",
    "subject": "..",
    "patient id": "4711",
    "date": "20260302",
    "time": "093015.123",
    "modality": "MR",
    "series": "T1 Localizer, head and neck",
    "series number": "7",
    "file": "IM 1.DCM",
    "origin": "device",
    "size": "12000000",
    "level": "acquisition",
}


@pytest.mark.parametrize(
    ("line", "holds"),
    [
        ("modality is MR", True),
        ("Modality IS mr", True),
        ("modality is CT or MR", True),
        ("modality is not CT or MR", False),
        ("series contains localizer", True),
        ("series does not contain localizer", False),
        ("series contains head and neck", True),
        ("series contains localizer and modality is CT", False),
        ("series begins with T1 and modality is MR and size over 10 MB", True),
        ('series contains "cat or dog" or neck', True),
        ("file ends .dcm", True),
        ("file does not end with .dcm", False),
        ("patient_id is 4711", True),
        ("body part is empty", True),
        ("modality is not empty", True),
        ("date is 2026-03-02", True),
        ("date before 2026-03-02", False),
        ("date after 20260301", True),
        ("time before 09:31", True),
        ("series number over 6", True),
        ("size under 12 MB", False),
        ("instance over 1", False),
    ],
)
def test_a_condition_in_words_holds_or_not(line: str, holds: bool) -> None:
    assert conditions.parse(line, field="include_1").holds(FACTS) is holds


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("colour is red", "'colour is red' does not begin with a field. The fields are: group, project"),
        ("modality MR", "After modality comes one of: is, contains"),
        ("modality is", "has no value after 'is'"),
        ("modality is CT or", "has no value after 'is'"),
        ("size is empty today", "write nothing after it"),
        ("size is 10", "A size is compared with over or under"),
        ("date over soon", "write it like 2026-03-02"),
        ("subject before B", "takes one value, of one of: date"),
        ("file is " + "x" * 200, "at most 200 characters"),
        ("file is " + " or ".join("abcdefghij"[:1] for _ in range(51)), "at most"),
    ],
)
def test_a_condition_that_is_not_understood_is_refused_in_a_sentence(line: str, words: str) -> None:
    with pytest.raises(BadValue) as refused:
        conditions.parse(line, field="include_2")
    assert words in refused.value.message
    assert refused.value.field == "include_2"


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("{project}/{subject}/{file}", "Trial_A/_/IM 1.DCM"),
        ("{date:%Y-%m-%d}/{modality|OT}/{file}", "2026-03-02/MR/IM 1.DCM"),
        ("{date:%Y}/{date:%m}/{time:%H%M}/{file}", "2026/03/0930/IM 1.DCM"),
        ("{body part|unknown}/{body_part}/{series_number:03}.dcm", "unknown/007.dcm"),
        ("manifests/{file}", "_manifests/IM 1.DCM"),
        ("con/{accession}", "_con/_"),
        ("a. /x{series}", "a/xT1 Localizer, head and neck"),
    ],
)
def test_a_path_is_made_of_clean_segments(template: str, path: str) -> None:
    assert key_template.parse(template).path(FACTS) == path


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("", "between 1 and 500"),
        ("x" * 501, "between 1 and 500"),
        ("/{file}", "begins or ends with a slash"),
        ("{subject}//{file}", "begins or ends with a slash"),
        ("{subject}/../{file}", "begins or ends with a slash"),
        ("{subject}/{file", "is not closed"),
        ("{colour}/{file}", "There is no field {colour}"),
        ("{date:%c}/{file}", "is no format that Portico knows"),
        ("{subject:%Y}/{file}", "is no format that Portico knows"),
        ("{date:%Y/%m}/{file}", "slash within its braces"),
        ("/".join("a" * 21), "at most 20 parts"),
    ],
)
def test_a_path_that_cannot_be_is_refused_in_a_sentence(template: str, words: str) -> None:
    with pytest.raises(BadValue) as refused:
        key_template.parse(template, field="path_3")
    assert words in refused.value.message
    assert refused.value.field == "path_3"


def test_rules_are_bounded_and_kept_as_they_were_written() -> None:
    rule = {"level": "acquisition", "include": ["modality is MR"], "exclude": [], "path": "{subject}/{file}"}
    assert rules.parse([rule]).written() == [rule]
    assert rules.parse(()).are_default
    with pytest.raises(BadValue, match="at most 10 rules"):
        rules.parse([rule] * 11)
    with pytest.raises(BadValue, match="at most 20 conditions"):
        rules.parse([rule | {"exclude": ["modality is MR"] * 21}])
    with pytest.raises(BadValue, match="is no level"):
        rules.parse([rule | {"level": "planet"}])
