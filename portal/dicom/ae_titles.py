"""AE titles as the standard has them (PS3.5 6.2, VR AE)."""

from portal.errors import BadValue

MAX_AE_TITLE_LENGTH = 16


def clean(text: str, *, field: str = "ae_title") -> str:
    """The title without the spaces around it, which carry no meaning. Raises BadValue for what is no AE title."""
    title = text.strip(" ")
    if not title:
        raise BadValue("An AE title has at least one character that is not a space.", field=field)
    if len(title) > MAX_AE_TITLE_LENGTH:
        raise BadValue(
            f"{title[:64]} has {len(title)} characters; an AE title has at most {MAX_AE_TITLE_LENGTH}.", field=field
        )
    if any(not " " <= character <= "~" or character == "\\" for character in title):
        raise BadValue("An AE title has only ASCII letters, digits and signs, and no backslash.", field=field)
    return title
