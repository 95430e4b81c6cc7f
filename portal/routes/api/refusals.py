"""Values that a declaration refuses, in words: which field it is, and what it must be."""

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from portal.errors import BadValue, Missing

Model = TypeVar("Model", bound=BaseModel)

_MUST_BE = {
    "string_type": "a string",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "list_type": "an array",
    "none_required": "null",
    "string_too_short": "at least {min_length} characters long",
    "string_too_long": "at most {max_length} characters long",
    "string_pattern_mismatch": "written like {pattern}",
    "too_long": "at most {max_length} long",
    "too_short": "at least {min_length} long",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "literal_error": "one of {expected}",
    "digits": "a number from {least} to {most}",
    "id": "an id of 24 hexadecimal digits",
}
"""What a value must be, by pydantic's type of error."""


def checked_path(model: type[Model], values: dict[str, Any]) -> Model:
    """Raises Missing: there is nothing at an address that cannot be."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        shown = str(error.errors(include_url=False)[0]["input"])[:64]
        raise Missing(f"There is nothing at this address: {shown!r} is no id or name of this kind.") from error


def checked_query(model: type[Model], values: dict[str, str]) -> Model:
    """Raises BadValue."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            known = ", ".join(names_of(model))
            taken = f"accepts {known}" if known else "accepts none"
            raise BadValue(
                f"Unknown parameter {name[:64]!r}; this address {taken}. Nothing was done.", field=name
            ) from error
        raise BadValue(f"The parameter {name} must be {_wanted(first)}.", field=name) from error


def checked_body(model: type[Model], values: Any) -> Model:
    """Raises BadValue; null is as good as nothing where the field is required."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first, *others = error.errors(include_url=False)
        name = ".".join(str(part) for part in first["loc"])[:64]
        either = [first, *(other for other in others if other["loc"][:1] == first["loc"][:1])]
        if len(first["loc"]) > 1 and len(either) > 1:  # a field that may be one of several things
            name = str(first["loc"][0])
            raise BadValue(f"The field {name} must be {' or '.join(map(_wanted, either))}.", field=name) from error
        if first["type"] == "extra_forbidden":
            known = ", ".join(names_of(model)) or "none"
            raise BadValue(f"The body has an unknown field {name!r}. Known fields: {known}.") from error
        if first["type"] == "missing" or first["input"] is None:
            raise BadValue(f"The body lacks the field {name}.", field=name) from error
        raise BadValue(f"The field {name} must be {_wanted(first)}.", field=name) from error


def names_of(model: type[BaseModel]) -> list[str]:
    """The fields of a model as a request names them."""
    return [field.alias or name for name, field in model.model_fields.items()]


def _wanted(error: Any) -> str:
    words = _MUST_BE.get(error["type"])
    return words.format(**error.get("ctx", {})) if words else f"valid: {error['msg']}"
