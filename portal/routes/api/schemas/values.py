"""The types of single values: ids, numbers of a query string, timestamps."""

import re
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError, core_schema

ID_PATTERN = "^[0-9a-f]{24}$"

Id = Annotated[str, WithJsonSchema({"type": "string", "pattern": ID_PATTERN})]
"""An id in an address: `rest_ids` decides whether it is one, and says so."""


def _id(text: str) -> str:
    if re.fullmatch(ID_PATTERN, text):
        return text
    raise PydanticCustomError("id", "an id of 24 hexadecimal digits")


IdGiven = Annotated[str, AfterValidator(_id), WithJsonSchema({"type": "string", "pattern": ID_PATTERN})]
"""An id in a body or a query string, which is checked also where the address has no use for it."""
Label = Annotated[
    str,
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 64, "description": "1 to 64 visible characters."}),
]
"""`labels.clean` decides whether it is one, and says so."""
Timestamp = Annotated[str, Field(max_length=64, description="Like 2027-01-31T12:00:00Z, or 2027-01-31.")]
Moment = Annotated[
    datetime,
    PlainSerializer(datetime.isoformat, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


class Body(BaseModel):
    """A JSON object whose fields are all known; null is the same as leaving a field out, where it is optional."""

    model_config = ConfigDict(extra="forbid", strict=True)


class OpenBody(BaseModel):
    """A JSON object that may have other fields: they are kept in `info`."""

    model_config = ConfigDict(extra="allow", strict=True)


class Query(BaseModel):
    """A query string; unknown parameters are refused, since the response would not be the requested one."""

    model_config = ConfigDict(extra="forbid")


class Shown(BaseModel):
    """A part of a response. More fields may be added in later releases."""

    model_config = ConfigDict(populate_by_name=True)


@dataclass(frozen=True)
class Digits:
    """A number as a query string has it: ASCII digits alone, where `int` would also take 1_000 or other scripts."""

    least: int
    most: int

    def __get_pydantic_core_schema__(self, _source: Any, _handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self._number)

    def __get_pydantic_json_schema__(self, _schema: Any, _handler: Any) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.least, "maximum": self.most}

    def _number(self, text: str) -> int:
        if text.isascii() and text.isdecimal() and len(text) <= 10 and self.least <= int(text) <= self.most:
            return int(text)
        raise PydanticCustomError("digits", "a number from {least} to {most}", asdict(self))
