"""XML and numbers in the answers of stores; a document that declares entities is refused."""

from typing import Any
from xml.etree import ElementTree

MAX_BYTE_COUNT = 1 << 62


def byte_count(text: str) -> int | None:
    """A number of bytes from an answer; None for what is no number, or larger than any storage."""
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(MAX_BYTE_COUNT)) or int(text) > MAX_BYTE_COUNT:
        return None
    return int(text)


def parse(content: bytes) -> ElementTree.Element | None:
    """The root of a document of bounded size; None for what is no document, or has a document type."""
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
