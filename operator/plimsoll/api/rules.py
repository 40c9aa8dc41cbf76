"""Validation rules, each written once and checked twice.

A ``Rule`` carries the CEL expression that the API server evaluates and the
Python predicate that holds files and operator to the same, with one message for
both. Rules sit on models (``Model.rules``) or, through the annotations below, on
single values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


class Rule(NamedTuple):
    """What must hold, said to the API server, to Python and to a person."""

    cel: str
    """Expression over ``self`` (and ``oldSelf`` in a transition rule)."""
    message: str
    """What is wrong."""
    remedy: str
    """What to do."""
    holds: Callable[[Any], bool] | None = None
    """The same over the Python value; None for a transition rule, as a file has no past."""
    field: str = ""
    """Path below ``self`` of the field to blame, such as ``.max``; empty: the value itself."""

    @property
    def text(self) -> str:
        return f"{self.message}: {self.remedy}"


BROKEN = "rule_broken"
"""Type of the pydantic error that carries broken rules in its context."""


def require(value: object, rules: Iterable[Rule]) -> None:
    """Checks a value against rules.

    Raises:
        PydanticCustomError: of type ``BROKEN``, with the broken rules in its context.
    """
    broken = tuple(rule for rule in rules if rule.holds is not None and not rule.holds(value))
    if broken:
        raise broken_rules(*broken)


def broken_rules(*broken: Rule) -> PydanticCustomError:
    """The error that names these rules."""
    # Braces in a message would be read as a template's.
    text = "; ".join(rule.text for rule in broken).replace("{", "{{").replace("}", "}}")
    return PydanticCustomError(BROKEN, text, {"broken": broken})


def validations(rules: Iterable[Rule]) -> list[dict[str, str]]:
    """The rules as ``x-kubernetes-validations``."""
    rendered = []
    for rule in rules:
        entry = {"rule": rule.cel, "message": rule.text}
        if rule.field:
            entry["fieldPath"] = rule.field
        rendered.append(entry)
    return rendered


def add_validations(schema: dict[str, Any], rules: Iterable[Rule]) -> dict[str, Any]:
    """The JSON schema with the rules added to those that it has."""
    added = validations(rules)
    if added:
        schema["x-kubernetes-validations"] = schema.get("x-kubernetes-validations", []) + added
    return schema


def matches(pattern: str, message: str, remedy: str) -> Rule:
    """The rule that the whole text matches a pattern (RE2 and Python read it alike)."""
    compiled = re.compile(pattern.removesuffix("$"), re.ASCII)
    return Rule(
        f"self.matches(r'{pattern}')",
        message,
        remedy,
        lambda text: compiled.fullmatch(text) is not None,
    )


@dataclass(frozen=True)
class Checked:
    """Annotation of a field type: rules that every value of it keeps."""

    rules: tuple[Rule, ...]

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return add_validations(handler(schema), self.rules)

    def _check(self, value: Any) -> Any:
        require(value, self.rules)
        return value


@dataclass(frozen=True)
class ListOf:
    """Annotation of a list: how the API server merges and what must not occur twice.

    ``atomic`` lists are replaced whole; in a ``set`` no item, and in a ``map`` no
    combination of the ``keys`` occurs twice.
    """

    kind: str
    keys: tuple[str, ...] = ()

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._unique, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        extra: dict[str, Any] = {"x-kubernetes-list-type": self.kind}
        if self.keys:
            extra["x-kubernetes-list-map-keys"] = list(self.keys)
        return {**handler(schema), **extra}

    def _unique(self, items: Sequence[Any]) -> Sequence[Any]:
        if self.kind == "atomic":
            return items
        seen = set()
        for index, item in enumerate(items):
            mark = tuple(getattr(item, key) for key in self.keys) if self.keys else item
            if mark in seen:
                named = " and ".join(self.keys) or "value"
                raise broken_rules(
                    Rule(
                        cel="",
                        message=f"has the same {named} as an item before it",
                        remedy="remove one of the two",
                        field=f"[{index}]",
                    )
                )
            seen.add(mark)
        return items


ATOMIC = ListOf("atomic")
SET = ListOf("set")
