"""The OpenAPI document, which is made from the same table as the routes."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from jsonschema import Draft202012Validator
from starlette.routing import Route

from pytest_memguard.demo.api import Operation, routes
from pytest_memguard.demo.app import operations
from pytest_memguard.demo.openapi import document
from pytest_memguard.demo.service import Service
from pytest_memguard.demo.settings import DemoSettings


@pytest.fixture(scope="module")
def table() -> Iterator[tuple[Operation, ...]]:
    """Return the operations of a service that nobody asks."""
    service = Service(DemoSettings())
    yield operations(service)
    service.shop.close()


def test_document_and_routes_are_the_same(table: tuple[Operation, ...]) -> None:
    """Every path and method of the document is a route, and there is no other one."""
    described = {(path, method.upper()) for path, methods in document(table)["paths"].items() for method in methods}
    served = {(route.path, method) for route in routes(table) for method in route.methods or () if method != "HEAD"}

    assert described == served


def test_operations_have_names_and_words(table: tuple[Operation, ...]) -> None:
    """Each operation has a name of its own and a sentence, and every part of a path is described."""
    paths = document(table)["paths"]
    described = [(path, one) for path, methods in paths.items() for one in methods.values()]

    assert len({one["operationId"] for _, one in described}) == len(described)
    assert [one["operationId"] for _, one in described if not one["summary"].endswith(".")] == []
    for path, one in described:
        names = {parameter["name"] for parameter in one["parameters"] if parameter["in"] == "path"}
        assert names == set(re.findall(r"{(\w+)}", path))


def test_schemas_are_valid(table: tuple[Operation, ...]) -> None:
    """What is said of bodies and answers is JSON Schema, as OpenAPI 3.1 wants it."""
    for operation in table:
        for schema in (operation.body, operation.returns, *operation.query.values(), *operation.parts.values()):
            if schema is not None:
                Draft202012Validator.check_schema(schema)


def test_one_route_a_path(table: tuple[Operation, ...]) -> None:
    """A path is one route, so that a wrong method is answered with all the right ones."""
    made = [route for route in routes(table) if isinstance(route, Route)]

    assert len({route.path for route in made}) == len(made)
