"""JSON Schema, as far as the demo needs it: what the OpenAPI document says is what is checked."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Schema", "Unfit", "at_least", "boolean", "fitted", "integer", "listing", "number", "read", "record", "text"]

Schema = dict[str, Any]

_SHOWN = 60


class Unfit(ValueError):  # noqa: N818 - names what the value is
    """A value does not fit its schema; the text says where, and what would fit."""


def record(required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> Schema:
    """Return the schema of an object with these keys and no others."""
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
    }


def at_least(required: Mapping[str, Schema]) -> Schema:
    """Return the schema of an object that has these keys, and may have others."""
    return {"type": "object", "properties": dict(required), "required": list(required)}


def text(most: int = 80, *, least: int = 1, enum: tuple[str, ...] = (), **more: object) -> Schema:
    """Return the schema of a text of *least* to *most* characters, or of one of *enum*."""
    if enum:
        return {"type": "string", "enum": list(enum), **more}
    return {"type": "string", "minLength": least, "maxLength": most, **more}


def integer(least: int, most: int, **more: object) -> Schema:
    """Return the schema of a whole number."""
    return {"type": "integer", "minimum": least, "maximum": most, **more}


def number(least: float, most: float, **more: object) -> Schema:
    """Return the schema of a number."""
    return {"type": "number", "minimum": least, "maximum": most, **more}


def boolean() -> Schema:
    """Return the schema of true and false."""
    return {"type": "boolean"}


def listing(items: Schema) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": items}


def read(raw: str, schema: Schema, where: str) -> Any:  # noqa: ANN401 - a value of JSON
    """
    Return the value that a part of an address spells.

    Raises:
        Unfit: it spells no such value.
    """
    value: object = raw
    if schema["type"] == "integer":
        digits = raw.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) < 20):  # noqa: PLR2004 - beyond 64 bits
            raise Unfit(f"{where} = {_shown(raw)} is not a whole number")
        value = int(raw)
    return fitted(value, schema, where)


def fitted(value: object, schema: Schema, where: str) -> Any:  # noqa: ANN401 - a value of JSON
    """
    Return *value* as *schema* means it: 7.0 is an integer of JSON, and 7 one of Python.

    Raises:
        Unfit: it does not fit.
    """
    readers = {"object": _object, "string": _string, "integer": _number, "number": _number}
    return readers[schema["type"]](value, schema, where)


def _object(value: object, schema: Schema, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Unfit(f"{where} must be an object with {_keys(schema)}, not {_shown(value)}")
    properties = schema["properties"]
    for key in value:
        if key not in properties:
            raise Unfit(f"{where} has no key {_shown(key)}; there are {_keys(schema)}")
    for key in schema["required"]:
        if key not in value:
            raise Unfit(f"{where} needs the key '{key}'")
    defaults = {key: schema["default"] for key, schema in properties.items() if "default" in schema}
    return {**defaults, **{key: fitted(item, properties[key], key) for key, item in value.items()}}


def _string(value: object, schema: Schema, where: str) -> str:
    if not isinstance(value, str):
        raise Unfit(f"{where} must be text, not {_shown(value)}")
    if "enum" in schema and value not in schema["enum"]:
        raise Unfit(f"{where} = {_shown(value)} must be one of {', '.join(schema['enum'])}")
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", math.inf):
        raise Unfit(f"{where} must have {schema['minLength']} to {schema['maxLength']} characters, not {len(value)}")
    if not _is_text(value):
        raise Unfit(f"{where} = {_shown(value)} has half a surrogate pair")
    return value


def _number(value: object, schema: Schema, where: str) -> float:
    kinds = int if schema["type"] == "integer" else (int, float)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise Unfit(f"{where} must be a{' whole' if kinds is int else ''} number, not {_shown(value)}")
    if not schema["minimum"] <= value <= schema["maximum"]:
        raise Unfit(f"{where} = {_shown(value)} must be from {schema['minimum']} to {schema['maximum']}")
    return value


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _keys(schema: Schema) -> str:
    return ", ".join(repr(key) for key in schema["properties"]) or "no keys"


def _shown(value: object) -> str:
    """Return what somebody sent as short ASCII."""
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and value.bit_length() > 8 * _SHOWN:
        return f"a number of {value.bit_length()} bits"
    shown = ascii(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
