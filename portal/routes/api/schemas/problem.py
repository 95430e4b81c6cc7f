"""The body of every error."""

from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, Field


class Problem(BaseModel):
    """An error. `message` says what happened and what to do."""

    message: str
    status_code: int
    id: str | None = Field(default=None, alias="_id", description="With 409: the id of what exists, if there is one.")
    request_id: str = Field(description="The log of the server has the details under this id.")


def _described(words: str) -> dict[str, Any]:
    return {
        "description": words,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


PROBLEMS: dict[str | int | HTTPStatus, type[BaseModel] | dict[Any, Any] | None] = {
    "400": _described("The request is malformed: its body is not JSON, for example."),
    "401": _described("No key was sent, or one that is wrong, expired, revoked or disabled."),
    "403": _described("The key has no right to do this."),
    "404": _described("There is nothing with this id or name, or the key has no access to it."),
    "405": _described("Method not allowed. The header Allow lists the allowed methods."),
    "409": _described("The name is taken, the content conflicts, or the thing is in use."),
    "413": _described("The body is too large."),
    "415": _described("The body is of another type than this address takes, or compressed."),
    "422": _described("A value is invalid. Nothing was changed."),
    "429": _described("Too many requests, or too many wrong keys. Wait as long as Retry-After says."),
    "503": _described("The database or a part of the site is busy. Try again after Retry-After seconds."),
    "507": _described("The disk of the server is full."),
}
"""The errors that each address may answer."""
