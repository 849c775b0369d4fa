"""The OpenAPI 3.1 document of a table of operations."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from pytest_memguard import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pytest_memguard.demo.api import Operation
    from pytest_memguard.demo.schema import Schema

__all__ = ["document"]

_ERROR = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
_BODY_ERRORS = {
    400: "The body is not JSON.",
    408: "The body took too long.",
    413: "The body is too large.",
    415: "The body is not of type application/json.",
}


def document(operations: Iterable[Operation]) -> dict[str, Any]:
    """Return the document that describes *operations*, and nothing else."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "memguard demo",
            "version": __version__,
            "description": "A web service that leaks on purpose, to try memguard on.",
        },
        "paths": paths,
        "components": {"schemas": {"Error": _ERROR}},
    }


def _operation(operation: Operation) -> dict[str, Any]:
    description = inspect.cleandoc(operation.run.__doc__ or "")
    described: dict[str, Any] = {
        "operationId": operation.run.__name__,
        "tags": [operation.tag],
        "summary": description.partition("\n")[0],
        "description": description,
        "parameters": [
            *_parameters("path", operation.parts),
            *_parameters("query", operation.query),
        ],
        "responses": _responses(operation),
    }
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": operation.body}}}
    return described


def _parameters(place: str, schemas: Mapping[str, Schema]) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": place, "required": place == "path", "schema": schema} for name, schema in schemas.items()
    ]


def _responses(operation: Operation) -> dict[str, Any]:
    schema = operation.returns if operation.returns is not None else {"type": "string"}
    answers = {str(operation.status): {"description": "Done.", "content": {operation.media: {"schema": schema}}}}
    errors = {422: "Something does not fit; the text says what would."}
    if operation.body is not None:
        errors.update(_BODY_ERRORS)
    errors.update(dict.fromkeys(operation.refuses, "It cannot be done; the text says why."))
    if operation.misses:
        errors[404] = operation.misses
    errors[503] = "The service has too little memory left; come back after Retry-After seconds."
    reference = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    answers.update({str(code): {"description": words, "content": reference} for code, words in sorted(errors.items())})
    return answers
