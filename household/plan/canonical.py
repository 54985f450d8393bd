"""Dataclasses of a plan to plain JSON values and back: what its canonical bytes are made of."""

import dataclasses
import types
import typing
from enum import StrEnum
from functools import cache
from typing import Any, get_args, get_origin

from household.later import is_silent


def to_plain(kind: Any, value: Any) -> Any:
    """Return a value of this type as JSON has it; equal values give equal plain ones."""
    if dataclasses.is_dataclass(value):
        types_by_name = _field_types(type(value))  # type: ignore[arg-type]
        return {
            name: to_plain(inner, getattr(value, name))
            for name, inner in types_by_name.items()
            if not is_silent(value, name)
        }
    if isinstance(value, tuple):
        return [to_plain(inner, item) for inner, item in zip(_inner(kind, len(value)), value, strict=True)]
    # 3 and 3.0 are equal, so they must have the same bytes.
    return float(value) if type(value) is int and float in (kind, *get_args(kind)) else value


def _inner(kind: Any, count: int) -> tuple[Any, ...]:
    """Return the types of a tuple's items."""
    inner = get_args(kind)
    return inner[:1] * count if inner[-1] is Ellipsis else inner


@cache
def _field_types(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def from_plain(kind: Any, value: Any) -> Any:
    """Return the value of this type that a plain one stands for.

    Raises:
        TypeError, ValueError, AttributeError: it is of another type; says what.
    """
    if dataclasses.is_dataclass(kind):
        types_by_name = _field_types(kind)  # type: ignore[arg-type]
        return kind(**{name: from_plain(types_by_name[name], item) for name, item in value.items()})  # type: ignore[operator]
    origin = get_origin(kind)
    if origin is tuple:
        if not isinstance(value, list):
            raise TypeError(f"{value!r} is no list")
        return tuple(from_plain(inner, item) for inner, item in zip(_inner(kind, len(value)), value, strict=True))
    if origin is types.UnionType:
        if value is None:
            return None
        return from_plain(next(arm for arm in get_args(kind) if arm is not type(None)), value)
    if issubclass(kind, StrEnum):
        return kind(value)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value
