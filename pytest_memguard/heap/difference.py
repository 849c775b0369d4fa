"""What grew between two snapshots: types, lines that allocate, and shapes of paths; and what it hangs on."""

from __future__ import annotations

from array import array
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from pytest_memguard.heap.loaded import HeapSnapshot, Site, Total

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Change", "HeapDiff", "PathShape", "compare"]

_Key = TypeVar("_Key")
_NO_TOTAL = Total(0, 0)
#: Steps of a path that go without a name: elements, entries of dictionaries, items of sets.
_ANY = "[*]"
_LONGEST_PATH = 12
#: A shape that grew less than this share of what its holders grew by, both in proportion, only comes along with them.
_SHARE = 0.5
_HEADS = ("(modules)", "(GC roots)", "(thread stacks)")


class PathShape(NamedTuple):
    """A path from a root without the numbers and keys in it, and the type of what it leads to."""

    steps: tuple[str, ...]
    type: str

    @property
    def text(self) -> str:
        """The path on one line."""
        shown = (
            self.steps
            if len(self.steps) <= _LONGEST_PATH
            else (*self.steps[:3], "...", *self.steps[3 - _LONGEST_PATH :])
        )
        return " ".join(shown)


@dataclass(frozen=True, slots=True)
class Change(Generic[_Key]):
    """How many there were of something, and how many bytes, before and after."""

    key: _Key
    before: Total
    after: Total

    @property
    def count(self) -> int:
        """How many more there are."""
        return self.after.count - self.before.count

    @property
    def bytes(self) -> int:
        """How many bytes more."""
        return self.after.bytes - self.before.bytes


@dataclass(frozen=True, slots=True)
class HeapDiff:
    """
    What is different between two snapshots; the largest growth comes first, what did not change is left out.

    Attributes:
        before: Objects and bytes of the first one.
        after: Objects and bytes of the second one.
        types: By type; bytes are those of the objects alone.
        sites: By the line that allocated, where tracemalloc was tracing in both; bytes of the objects alone.
        paths: By shape of path, the places where the growth hangs; bytes with all that they keep alive.
        same_process: Whether the snapshots seem to be of one process.

    """

    before: Total
    after: Total
    types: tuple[Change[str], ...]
    sites: tuple[Change[Site], ...]
    paths: tuple[Change[PathShape], ...]
    same_process: bool

    @property
    def growth(self) -> Total:
        """How many objects and bytes more there are."""
        return Total(self.after.count - self.before.count, self.after.bytes - self.before.bytes)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as JSON takes it."""
        return {
            "schema": "memguard-heapdiff/1",
            "before": asdict(self.before),
            "after": asdict(self.after),
            "growth": asdict(self.growth),
            "same_process": self.same_process,
            "types": [{"type": change.key, **_numbers(change)} for change in self.types],
            "sites": [{**change.key._asdict(), **_numbers(change)} for change in self.sites],
            "paths": [{"path": change.key.text, "type": change.key.type, **_numbers(change)} for change in self.paths],
        }


def compare(before: HeapSnapshot, after: HeapSnapshot) -> HeapDiff:
    """Return what is different in *after*; the snapshots may be of one process or of two runs of one program."""
    sites = (before.sites(), after.sites())
    return HeapDiff(
        Total(before.objects, before.bytes),
        Total(after.objects, after.bytes),
        _changes(before.types(), after.types()),
        _changes(*sites) if all(sites) else (),
        _grown_paths(before, after),
        _same_process(before, after),
    )


def _numbers(change: Change[Any]) -> dict[str, int]:
    return {
        "count": change.count,
        "bytes": change.bytes,
        "count_before": change.before.count,
        "count_after": change.after.count,
        "bytes_before": change.before.bytes,
        "bytes_after": change.after.bytes,
    }


def _changes(before: Mapping[_Key, Total], after: Mapping[_Key, Total]) -> tuple[Change[_Key], ...]:
    keys = dict.fromkeys([*after, *before])
    changes = (Change(key, before.get(key, _NO_TOTAL), after.get(key, _NO_TOTAL)) for key in keys)
    return _sorted(change for change in changes if change.before != change.after)


def _sorted(changes: Iterable[Change[_Key]]) -> tuple[Change[_Key], ...]:
    return tuple(sorted(changes, key=lambda change: (-change.bytes, -change.count, str(change.key))))


def _same_process(before: HeapSnapshot, after: HeapSnapshot) -> bool:
    """Whether most modules and classes of the first snapshot are at the same place in the second."""
    found = [set(_settled(snapshot)) for snapshot in (before, after)]
    return 2 * len(found[0] & found[1]) > len(found[0])


def _settled(snapshot: HeapSnapshot) -> Iterable[tuple[int, str]]:
    for node, identity in enumerate(snapshot.identities):
        if snapshot.kinds[node] == "object" and snapshot.type_name(node) in {"module", "class"}:
            yield identity, snapshot.name(node)


# -- shapes of paths -------------------------------------------------------------------------------------------------


def _grown_paths(before: HeapSnapshot, after: HeapSnapshot) -> tuple[Change[PathShape], ...]:
    """
    Return the shapes of paths of which there are more, without those that only come along.

    What hangs below a shape that grew in the same proportion is a part of what grew there, and counted in its bytes.
    """
    shapes = _Shapes()
    was, now = shapes.totals(before), shapes.totals(after)
    grown = {shape: 1 - was.get(shape, _NO_TOTAL).count / total.count for shape, total in now.items()}
    return _sorted(
        Change(shapes.of(shape), was.get(shape, _NO_TOTAL), now[shape])
        for shape, share in grown.items()
        if share > 0 and grown.get(shapes.parent(shape), 0) < _SHARE * share
    )


class _Shapes:
    """The tree of all shapes, shared by both snapshots; a step that repeats itself, as in a chain, adds nothing."""

    __slots__ = ("_known", "_parents", "_steps")

    def __init__(self) -> None:
        self._known: dict[tuple[int, str, str], int] = {}
        self._parents, self._steps = array("q", [-1]), [("", "")]

    def parent(self, shape: int) -> int:
        """Return the shape one step nearer to the root."""
        return self._parents[shape]

    def of(self, shape: int) -> PathShape:
        """Return a shape in full."""
        kind = self._steps[shape][1]
        steps: list[str] = []
        while shape > 0:
            label, name = self._steps[shape]
            if name not in _HEADS:
                steps.append(f"{label}: {name}" if label else name)
            shape = self._parents[shape]
        return PathShape(tuple(reversed(steps)), kind)

    def totals(self, snapshot: HeapSnapshot) -> dict[int, Total]:
        """Return how many objects a snapshot has of each shape, and what they retain."""
        order, parents, edges = snapshot.shortest
        shapes = array("q", [0]) * len(snapshot)
        counts: dict[int, list[int]] = {}
        for node in order[1:]:
            label = self._label(snapshot, node, edges[node], parents[node])
            shape = shapes[node] = self._step(shapes[parents[node]], label, _shape_name(snapshot, node))
            if snapshot.is_object[node]:
                total = counts.setdefault(shape, [0, 0])
                total[0] += 1
                total[1] += self._own_share(snapshot, node, shape, shapes)
        return {shape: Total(*total) for shape, total in counts.items()}

    def _own_share(self, snapshot: HeapSnapshot, node: int, shape: int, shapes: array[int]) -> int:
        """Return what a node retains; nothing where it is dominated by one of its own shape, which has it already."""
        above = snapshot.dominators[node]
        return 0 if above >= 0 and shapes[above] == shape else snapshot.retained[node]

    @staticmethod
    def _label(snapshot: HeapSnapshot, node: int, edge: int, parent: int) -> str:
        """Return what leads to a node; a module below a root is called by its own name, as are roots and frames."""
        below_root = snapshot.type_name(node) == "module" and not snapshot.is_object[parent]
        return "" if below_root or not snapshot.is_object[node] else _step_label(snapshot, edge)

    def _step(self, parent: int, label: str, name: str) -> int:
        if self._steps[parent] == (label, name) and label:
            return parent
        key = (parent, label, name)
        shape = self._known.get(key)
        if shape is None:
            shape = self._known[key] = len(self._steps)
            self._parents.append(parent)
            self._steps.append((label, name))
        return shape


def _shape_name(snapshot: HeapSnapshot, node: int) -> str:
    """Return the type of a node; modules and classes are told apart by name."""
    name = snapshot.type_name(node)
    return snapshot.name(node) if name in {"module", "class"} else name


def _step_label(snapshot: HeapSnapshot, edge: int) -> str:
    """Return the name of an attribute or variable as it stands in code, and the same for all that have no name."""
    kind, label = snapshot.edge_kinds[edge], snapshot.label(edge)
    if kind == "element" or label == "item" or label.endswith(" key>"):
        return _ANY
    if kind == "property":
        return label if " " in label else f".{label}"
    return f"({label.partition(' ')[0]})"
