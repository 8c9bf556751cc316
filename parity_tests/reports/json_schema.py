"""A validator for the part of JSON Schema that our schema uses; an unknown keyword is an error of the test."""

from __future__ import annotations

from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "null": (type(None),),
    "integer": (int,),
    "number": (int, float),
}
_NO_CHECK = {"$schema", "$defs", "title", "description"}


def errors(value: Any, schema: dict[str, Any], root: dict[str, Any] | None = None, path: str = "$") -> list[str]:
    """Return what contradicts the schema, with its place."""
    root = schema if root is None else root
    found: list[str] = []
    for key, rule in schema.items():
        if key not in _NO_CHECK:
            found += _CHECKS[key](value, rule, schema, root, path)
    return found


def _is(value: Any, name: str) -> bool:
    return isinstance(value, _TYPES[name]) and (name in ("boolean", "null") or not isinstance(value, bool))


def _type(value, rule, schema, root, path):
    names = rule if isinstance(rule, list) else [rule]
    return [] if any(_is(value, name) for name in names) else [f"{path}: {value!r} is no {rule}"]


def _properties(value, rule, schema, root, path):
    if not isinstance(value, dict):
        return []
    return [e for key, part in rule.items() if key in value for e in errors(value[key], part, root, f"{path}.{key}")]


def _additional(value, rule, schema, root, path):
    if not isinstance(value, dict):
        return []
    others = [key for key in value if key not in schema.get("properties", {})]
    if rule is True:
        return []
    if rule is False:
        return [f"{path}: unknown {key}" for key in others]
    return [e for key in others for e in errors(value[key], rule, root, f"{path}.{key}")]


def _items(value, rule, schema, root, path):
    if not isinstance(value, list):
        return []
    return [e for i, item in enumerate(value) for e in errors(item, rule, root, f"{path}[{i}]")]


def _any_of(value, rule, schema, root, path):
    return [] if any(not errors(value, part, root, path) for part in rule) else [f"{path}: none of the alternatives"]


def _ref(value, rule, schema, root, path):
    return errors(value, root["$defs"][rule.removeprefix("#/$defs/")], root, path)


_CHECKS = {
    "type": _type,
    "properties": _properties,
    "additionalProperties": _additional,
    "items": _items,
    "anyOf": _any_of,
    "$ref": _ref,
    "required": lambda v, rule, s, r, p: [f"{p}: no {key}" for key in rule if isinstance(v, dict) and key not in v],
    "enum": lambda v, rule, s, r, p: [] if v in rule else [f"{p}: {v!r} is none of {rule}"],
    "const": lambda v, rule, s, r, p: [] if v == rule else [f"{p}: {v!r} is not {rule!r}"],
    "minimum": lambda v, rule, s, r, p: [] if v >= rule else [f"{p}: {v} below {rule}"],
    "minItems": lambda v, rule, s, r, p: [] if len(v) >= rule else [f"{p}: too short"],
    "maxItems": lambda v, rule, s, r, p: [] if len(v) <= rule else [f"{p}: too long"],
}
