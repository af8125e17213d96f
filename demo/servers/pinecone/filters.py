"""Pinecone's metadata filter language, compiled to a predicate.

Source: Pinecone's guide "Understanding metadata". A field holding a list matches when any element does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Metadata = Mapping[str, Any]
Predicate = Callable[[Metadata], bool]

_MISSING = object()
MAX_DEPTH = 32


class FilterError(ValueError):
    """The filter is not one Pinecone accepts; the text says why."""


def compile_filter(expression: Any) -> Predicate:
    """Compile a filter object. Raises FilterError. An empty object matches everything."""
    return _compile(expression, 0)


def _compile(expression: Any, depth: int) -> Predicate:
    if depth > MAX_DEPTH:
        raise FilterError("the filter is nested too deeply")
    if not isinstance(expression, dict):
        raise FilterError("a filter must be an object")
    parts = [_clause(name, operand, depth) for name, operand in expression.items()]
    if len(parts) == 1:
        return parts[0]
    return lambda metadata: all(part(metadata) for part in parts)


def _clause(name: str, operand: Any, depth: int) -> Predicate:
    if name in ("$and", "$or"):
        if not isinstance(operand, list) or not operand:
            raise FilterError(f"the {name} operator must be followed by a list of filters")
        parts = [_compile(part, depth + 1) for part in operand]
        if name == "$and":
            return lambda metadata: all(part(metadata) for part in parts)
        return lambda metadata: any(part(metadata) for part in parts)
    if name.startswith("$"):
        raise FilterError(f"{name} is not a valid operator here")
    if not isinstance(operand, dict):
        return _condition(name, "$eq", operand)
    if not operand:
        raise FilterError("a field's condition must name an operator")
    conditions = [_condition(name, operator, value) for operator, value in operand.items()]
    if len(conditions) == 1:
        return conditions[0]
    return lambda metadata: all(condition(metadata) for condition in conditions)


def _condition(name: str, operator: str, operand: Any) -> Predicate:
    if operator == "$exists":
        if not isinstance(operand, bool):
            raise FilterError("the $exists operator must be followed by a boolean")
        return lambda metadata: (name in metadata) is operand
    if operator in ("$eq", "$ne"):
        wanted = {_key(operand, operator)}
    elif operator in ("$in", "$nin"):
        if not isinstance(operand, list):
            raise FilterError(f"the {operator} operator must be followed by a list")
        wanted = {_key(item, operator) for item in operand}
    elif operator in ("$gt", "$gte", "$lt", "$lte"):
        return _comparison(name, operator, operand)
    else:
        raise FilterError("a condition uses an operator that is not valid")
    positive = operator in ("$eq", "$in")
    return lambda metadata: _any_of(metadata.get(name, _MISSING), wanted) is positive


def _key(value: Any, operator: str) -> tuple[bool, Any]:
    """True and 1 are equal to Python but not to Pinecone."""
    if not isinstance(value, str | int | float | bool):
        raise FilterError(f"the {operator} operator takes strings, numbers and booleans")
    return isinstance(value, bool), value


def _any_of(value: Any, wanted: set[tuple[bool, Any]]) -> bool:
    if value is _MISSING:
        return False
    if isinstance(value, list):
        return any((isinstance(item, bool), item) in wanted for item in value)
    return (isinstance(value, bool), value) in wanted


def _comparison(name: str, operator: str, operand: Any) -> Predicate:
    if isinstance(operand, bool) or not isinstance(operand, int | float):
        raise FilterError(f"the {operator} operator must be followed by a number")
    bound = operand

    def holds(metadata: Metadata) -> bool:
        value = metadata.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if operator == "$gt":
            return value > bound
        if operator == "$gte":
            return value >= bound
        return value < bound if operator == "$lt" else value <= bound

    return holds
