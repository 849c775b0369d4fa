"""
The layout of V8's ``.heapsnapshot`` files, as Chrome DevTools and memlab read them.

Two flat lists of non-negative integers, ``nodes`` and ``edges``, whose columns are named in a header; names are numbers
of a table of strings at the end. The edges of a node follow those of the node before it.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "CLOSURE", "CODE", "EDGE_FIELDS", "ELEMENT", "INTERNAL", "META", "NATIVE", "NODE_FIELDS", "NUMBER", "OBJECT",
    "PROPERTY", "SHORTCUT", "STRING", "SYNTHETIC", "WEAK", "Edge",
]  # fmt: skip

_NODE_TYPES = (
    "hidden", "array", "string", "object", "code", "closure", "regexp", "number", "native", "synthetic",
    "concatenated string", "sliced string", "symbol", "bigint", "object shape",
)  # fmt: skip
STRING, OBJECT, CODE, CLOSURE, NUMBER, NATIVE, SYNTHETIC = 2, 3, 4, 5, 7, 8, 9

_EDGE_TYPES = ("context", "element", "property", "internal", "hidden", "shortcut", "weak")
ELEMENT, PROPERTY, INTERNAL, SHORTCUT, WEAK = 1, 2, 3, 5, 6

#: How many numbers a node has, and an edge.
NODE_FIELDS, EDGE_FIELDS = 7, 3

#: Type of an edge, its name (of an element: its number), and what it leads to.
Edge = tuple[int, "str | int", object]

#: The header says what the columns are; DevTools reads no file without it.
META: dict[str, Any] = {
    "node_fields": ["type", "name", "id", "self_size", "edge_count", "trace_node_id", "detachedness"],
    "node_types": [_NODE_TYPES, "string", "number", "number", "number", "number", "number"],
    "edge_fields": ["type", "name_or_index", "to_node"],
    "edge_types": [_EDGE_TYPES, "string_or_number", "node"],
    "trace_function_info_fields": ["function_id", "name", "script_name", "script_id", "line", "column"],
    "trace_node_fields": ["id", "function_info_index", "count", "size", "children"],
    "sample_fields": ["timestamp_us", "last_assigned_id"],
    "location_fields": ["object_index", "script_id", "line", "column"],
}
