"""Path templates such as `{subject}/{session}/{acquisition}/{file}`: where an object belongs, read from its path."""

from dataclasses import dataclass

from portal.errors import BadValue
from portal.tree import files, labels

DEFAULT_PATH = "{subject}/{session}/{acquisition}/{file}"
EXPORTED_PATH = "{*}/{subject}/{session}/{acquisition}/{file}"
"""The default of exports, below the storage's prefix."""
LEVELS = ("subject", "session", "acquisition")
ANY_FOLDER = "{*}"
MAX_PATH_LENGTH = 500


@dataclass(frozen=True, kw_only=True)
class ParsedPath:
    """The labels of the containers that the path names, from the subject down, and the name of the file."""

    labels: tuple[str, ...]
    name: str


@dataclass(frozen=True)
class Template:
    """The folders in order: each a level in braces, `{*}` for any name, or a literal name."""

    folders: tuple[str, ...]

    def match(self, path: str) -> ParsedPath:
        """Raises BadValue for a path that does not match, or whose parts are not valid labels.

        A file in a higher folder belongs to the container of that folder.
        """
        *parts, name = path.split("/")
        if len(parts) > len(self.folders):
            raise BadValue(f"Its path is deeper than {self}.")
        found_labels: list[str] = []
        for part, folder in zip(parts, self.folders, strict=False):
            if folder.startswith("{") and folder != ANY_FOLDER:
                found_labels.append(labels.clean(part, field=folder[1:-1]))
            elif folder not in (ANY_FOLDER, part):
                raise BadValue(f"Its folder {part[:60]!r} is not {folder[:60]!r}.")
        return ParsedPath(labels=tuple(found_labels), name=files.clean_name(name))

    def __str__(self) -> str:
        return "/".join((*self.folders, "{file}"))


def parse(text: str) -> Template:
    """Raises BadValue with the field `path`."""
    *folders, last = (text.strip() or DEFAULT_PATH)[: MAX_PATH_LENGTH + 1].split("/")
    if len(text) > MAX_PATH_LENGTH or last != "{file}":
        raise BadValue(f"The path must end with /{{file}}, such as {DEFAULT_PATH}", field="path")
    named = [folder[1:-1] for folder in folders if folder.startswith("{") and folder != ANY_FOLDER]
    if tuple(named) != LEVELS[: len(named)]:
        message = "Use {subject}, {session} and {acquisition} once each, in this order, each as a folder of its own"
        raise BadValue(f"{message}; {{*}} matches any folder.", field="path")
    if any(folder in ("", ".", "..") or ("{" in folder[1:] or "}" in folder[:-1]) for folder in folders):
        raise BadValue(
            f"The path has an empty part, . or .., or a brace too many; write it like {DEFAULT_PATH}", field="path"
        )
    return Template(tuple(folders))
