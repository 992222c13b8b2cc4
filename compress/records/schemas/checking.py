"""Check of JSON that is read back against its published schema."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

from compress.records.schemas import schema_text

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

_LONGEST = 200


def fault_in(data: Any, name: str) -> str | None:
    """Return what is wrong with JSON, and where, in a few words; None where it follows the schema.

    Args:
        data: Value that :func:`json.loads` returned.
        name: Name of the schema, one of :data:`compress.records.schemas.NAMES`.
    """
    error = next(iter(_validator(name).iter_errors(data)), None)
    if error is None:
        return None
    place = ".".join(str(part) for part in error.absolute_path)
    fault = f"'{place}': {error.message}" if place else error.message
    return fault if len(fault) <= _LONGEST else f"{fault[:_LONGEST]}…"


@cache
def _validator(name: str) -> Draft202012Validator:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json.loads(schema_text(name)))
