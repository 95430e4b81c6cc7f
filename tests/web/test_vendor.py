"""What pages load is ours, unchanged, and complete."""

import hashlib
import re
from pathlib import Path

from portal.web import template_macros

VENDOR = Path(template_macros.STATIC) / "vendor"
TEMPLATES = Path(template_macros.__file__).parent.parent / "templates"


def test_each_vendored_file_is_what_its_package_had() -> None:
    listed = dict(reversed(line.split("  ", 1)) for line in (VENDOR / "SHA256SUMS").read_text().splitlines())
    found = {
        str(path.relative_to(VENDOR)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.rglob("*")
        if path.is_file() and path.name not in ("SHA256SUMS", "README.md")
    }

    assert found == listed


def test_each_vendored_package_has_its_licence() -> None:
    folders = {path for path in VENDOR.iterdir() if path.is_dir()}

    assert {path.name for path in folders} == {"htmx", "tabler", "tabler-icons", "inter"}
    assert all((path / "LICENSE").stat().st_size > 500 for path in folders)


def test_only_icons_that_something_shows_are_kept() -> None:
    sources = [*TEMPLATES.rglob("*.html"), *Path(template_macros.__file__).parent.glob("*.py")]
    words = {word for path in sources for word in re.findall(r'"([a-z0-9-]+)"', path.read_text())}

    assert {path.stem for path in (VENDOR / "tabler-icons").glob("*.svg")} <= words


def test_no_page_asks_another_host_nor_styles_itself() -> None:
    for path in TEMPLATES.rglob("*.html"):
        text = path.read_text()
        assert "http://" not in text, path
        assert "https://" not in text, path
        assert " style=" not in text, path
        assert "|safe" not in text.replace(" ", ""), path
        assert not re.search(r"<script(?![^>]*\bsrc=)", text), path
        assert not re.search(r"\son(click|load|error|submit|input|change|focus)\b", text), path


def test_the_style_sheet_loads_only_files_that_are_here() -> None:
    for name in re.findall(r"url\(([^)]+)\)", (template_macros.STATIC / "style.css").read_text()):
        assert (template_macros.STATIC / name).is_file(), name
