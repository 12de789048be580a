"""The JSON Schema of the spec (its top file), for editors and for generators of specs.

It is pydantic's schema of the models, adapted to the file that users write: TOML has no null, durations are text,
fields are optional in ``[defaults]``, and the top file has ``include``. ``pgtls check`` also checks across tables.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import GenerateJsonSchema

from pgtls.language.models import KINDS, WITH_DEFAULTS, Spec
from pgtls.language.values import DEVICE_NAMES, TABLE_NAME, Table, duration_text

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import core_schema

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class _Toml(GenerateJsonSchema):
    """Pydantic's generator, for values as TOML has them."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        """Omit null: TOML has none."""
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Omit defaults that nobody writes: null and the empty table."""
        generated = super().default_schema(schema)
        if generated.get("default") in (None, {}):
            generated.pop("default", None)
        return generated

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        """Return anyOf: in JSON Schema an integer is also a number."""
        return {"anyOf": super().tagged_union_schema(schema)["oneOf"]}

    def encode_default(self, dft: Any) -> Any:
        """Write a default as the file would have it."""
        if isinstance(dft, timedelta):
            return duration_text(dft)
        return {} if isinstance(dft, Table) else super().encode_default(dft)

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Omit titles: they only repeat the names of the fields."""
        return False


def schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of ``pgtls.toml``."""
    generated = Spec.model_json_schema(schema_generator=_Toml)
    tables: dict[str, Any] = generated["$defs"]
    for table in tables.values():
        del table["title"]
    properties: dict[str, Any] = generated["properties"]
    for kind, model in KINDS.items():
        properties[kind]["description"] = tables[model.__name__]["description"]
        properties[kind]["propertyNames"] = _NAMES
        properties[kind].pop("default", None)
    required = [(kind, key) for kind in WITH_DEFAULTS for key in tables[KINDS[kind].__name__].pop("required", ())]
    defaults = {kind: _defaults(tables[KINDS[kind].__name__], kind) for kind in WITH_DEFAULTS}
    return {
        "$schema": DIALECT,
        "title": "pgtls.toml",
        "description": "TLS and access for PostgreSQL: "
        "certificate authorities, servers, users and the policies between them.",
        "type": "object",
        "additionalProperties": False,
        "required": ["version"],
        "properties": {
            **properties,
            "version": properties["version"] | {"description": "The version of the language."},
            "include": _INCLUDE,
            "defaults": {
                "description": "Fields of every table of a kind; a table's own field replaces it whole.",
                "type": "object",
                "additionalProperties": False,
                "properties": defaults,
            },
        },
        "allOf": [_required_somewhere(kind, key) for kind, key in required],
        "$defs": tables,
    }


def _defaults(table: dict[str, Any], kind: str) -> dict[str, Any]:
    return table | {"description": f"What holds for every [{kind}.NAME] that does not say otherwise."}


def _required_somewhere(kind: str, key: str) -> dict[str, Any]:
    """Require a key of every table of a kind, unless their defaults have it."""
    in_defaults = {"properties": {kind: {"required": [key]}}, "required": [kind]}
    return {
        "if": {"properties": {"defaults": in_defaults}, "required": ["defaults"]},
        "else": {"properties": {kind: {"additionalProperties": {"required": [key]}}}},
    }


_NAMES = {
    "pattern": f"^{TABLE_NAME.pattern}$",
    "not": {"pattern": rf"^({'|'.join(sorted(DEVICE_NAMES))})(\.|$)"},
}
_INCLUDE = {
    "description": "Patterns of further files, relative to this one; each must match. "
    "They hold tables of every kind, and nothing else.",
    "type": "array",
    "items": {"type": "string", "minLength": 1},
    "default": [],
    "examples": [["users/*.toml"]],
}
