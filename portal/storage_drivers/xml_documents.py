"""What stores say, as XML and numbers. What a document may do beyond saying, such as naming entities, makes it none."""

from typing import Any
from xml.etree import ElementTree

MAX_BYTE_COUNT = 1 << 62


def byte_count(text: str) -> int | None:
    """Bytes as a store tells them; None for what is no number, or beyond all that there is."""
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(MAX_BYTE_COUNT)) or int(text) > MAX_BYTE_COUNT:
        return None
    return int(text)


def parse(content: bytes) -> ElementTree.Element | None:
    """The root of a document of bounded size; None for what is no document, or has a type of its own."""
    parser = ElementTree.XMLParser(target=_Builder())  # noqa: S314 (without entities, and of bounded size)
    try:
        parser.feed(content.strip())
        root: ElementTree.Element = parser.close()
    except (ElementTree.ParseError, _HasType, ValueError, LookupError):
        return None
    return root


class _HasType(Exception):
    """Only within a document type can entities be declared, whatever the encoding."""


class _Builder(ElementTree.TreeBuilder):
    def doctype(self, *_declaration: Any) -> None:
        raise _HasType
