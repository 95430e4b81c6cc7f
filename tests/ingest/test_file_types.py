"""What the name of a file says about its content."""

import pytest

from portal.ingest import file_types


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("notes.txt", ("text", "text/plain")),
        ("a.b.TXT", ("text", "text/plain")),
        ("t1.nii.gz", ("nifti", "application/gzip")),
        ("sub-01.T1.nii.gz", ("nifti", "application/gzip")),
        ("x.tar.gz", ("archive", "application/gzip")),
        ("x.gz", None),
        ("ct.dcm", None),
        ("txt", None),
        ("", None),
    ],
)
def test_a_name_says_the_type_or_nothing(name: str, kind: tuple[str, str] | None) -> None:
    found = file_types.by_name(name)
    assert found == ({"type": kind[0], "mimetype": kind[1]} if kind else {})
