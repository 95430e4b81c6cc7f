"""AE titles by the rules of the standard (PS3.5 6.2, VR AE)."""

from portal.errors import BadValue

MAX_AE_TITLE_LENGTH = 16


def clean(text: str, *, field: str = "ae_title") -> str:
    """The title without the spaces around it, which carry no meaning. Raises BadValue where it is not valid."""
    title = text.strip(" ")
    if not title:
        raise BadValue("An AE title needs at least one character that is not a space.", field=field)
    if len(title) > MAX_AE_TITLE_LENGTH:
        raise BadValue(
            f"{title[:64]} has {len(title)} characters; an AE title has at most {MAX_AE_TITLE_LENGTH}.", field=field
        )
    if any(not " " <= character <= "~" or character == "\\" for character in title):
        raise BadValue(
            "An AE title can contain only ASCII letters, digits and punctuation, and no backslash.", field=field
        )
    return title
