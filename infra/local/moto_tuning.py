"""Makes moto safe under threads, and quick enough for a few thousand items. Changes no answer.

What AWS does in parallel partitions moto does in one list: a query sorts and measures every row of its table, each
comparison by way of several Python calls. The functions here do the same for less. Patched once, by `tune`.
"""

import copy
import threading
import time
from collections import deque
from functools import cache
from typing import Any

from moto import backends
from moto.core import responses
from moto.core.serialize import ResponseSerializer
from moto.dynamodb.comparisons import ConditionExpressionParser
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.dynamo_type import DynamoType, Item
from moto.dynamodb.models.table import Table
from moto.dynamodb.parsing.ast_nodes import DepthFirstTraverser, Node, UpdateExpression  # type: ignore[attr-defined]
from moto.dynamodb.parsing.expressions import UpdateExpressionParser  # type: ignore[attr-defined]
from moto.dynamodb.responses import DynamoHandler
from moto.sqs import models as sqs

_lock = threading.RLock()
_call_action = DynamoHandler.call_action
_transact_write_items = DynamoDBBackend.transact_write_items
_slow_cast = DynamoType.cast_value.fget  # type: ignore[attr-defined]  # a property
_slow_project = Item.project
_slow_structure = ResponseSerializer._serialize_type_structure  # noqa: SLF001  # where moto spends its time
_slow_lex = ConditionExpressionParser._lex_condition_expression  # noqa: SLF001
_PLAIN = frozenset({"S", "N", "BOOL", "NULL", "SS", "NS"})


def tune() -> None:
    """Patch moto in this process; again is harmless."""
    handler, backend, table, value = map(_any, (DynamoHandler, DynamoDBBackend, Table, DynamoType))
    item, serializer, queues, traverser = map(_any, (Item, ResponseSerializer, sqs.SQSBackend, DepthFirstTraverser))
    handler.call_action = call_action
    backend.transact_write_items = transact_write_items
    table.__deepcopy__ = lambda self, _: self  # copied for a rollback alone, and `transact_write_items` sees to that
    table.all_items = all_items
    table.sorted_items = sorted_items
    value.cast_value = property(cast_value)
    value.__eq__ = equal
    item.project = project
    item.size = item_size
    serializer._serialize_type_structure = structure  # noqa: SLF001
    traverser.traverse = traverse
    parser = _any(UpdateExpressionParser)
    _any(sqs).unix_time_millis = lambda: time.time() * 1_000  # asked for each message in a queue at each that is sent
    _any(responses).method_names_from_class = cache(_any(responses).method_names_from_class)
    _any(backends)._import_backend = cache(_any(backends)._import_backend)  # noqa: SLF001  # of each request's service
    parser.make = cache(parser.make)  # what it makes is copied before it is changed
    _any(UpdateExpression).__deepcopy__ = lambda self, _: twin(self)
    _any(ConditionExpressionParser)._lex_condition_expression = lexed  # noqa: SLF001
    _any(sqs.Queue).pending_message_groups = property(pending_message_groups)
    queues.is_message_valid_based_on_retention_period = lambda *_: True  # nothing here gets days old


def _any(patched: Any) -> Any:
    return patched


def pending_message_groups(self: Any) -> set[str]:
    """Of a copy: another thread may receive meanwhile, and a set that changes cannot be gone through."""
    return {each.group_id for each in list(self._pending_messages) if each.group_id is not None}


def call_action(self: DynamoHandler) -> Any:
    """One request at a time: moto checks a condition and writes in two steps, so two writers could both win."""
    with _lock:
        return _call_action(self)


def transact_write_items(self: DynamoDBBackend, transact_items: list[dict[str, Any]]) -> None:
    """For a rollback moto copies every table that a transaction names; here, the items that it names."""
    before = [_standing(self.tables[part["TableName"]], part) for item in transact_items for part in item.values()]
    try:
        _transact_write_items(self, transact_items)
    except Exception:
        for table, hash_key, range_key, item in before:
            if item is None:
                table.delete_item(hash_key, range_key)
            elif range_key is not None:
                table.items[hash_key][range_key] = item
            else:
                table.items[hash_key] = item
        raise


def _standing(table: Any, part: dict[str, Any]) -> tuple[Any, DynamoType, DynamoType | None, Item | None]:
    """Where an item of a transaction stands, and a copy of it as it is before (None: it is not there)."""
    values = part.get("Key") or part["Item"]
    hash_key = DynamoType(values[table.hash_key_attr])
    range_key = DynamoType(values[table.range_key_attr]) if table.has_range_key else None
    return table, hash_key, range_key, copy.deepcopy(table.get_item(hash_key, range_key))


def all_items(self: Any) -> list[Item]:
    """Every row in the order of its key."""
    if not self.has_range_key:
        return sorted(self.items.values(), key=lambda item: item.hash_key.cast_value)
    rows = [item for partition in self.items.values() for item in partition.values()]
    return sorted(rows, key=lambda item: (item.hash_key.cast_value, item.range_key.cast_value))


def sorted_items(self: Any, hash_keys: list[str], range_keys: list[str | None], items: list[Item]) -> list[Item]:
    """The rows of an index in its order, and among equals in that of the table's key."""
    names = self._generate_attr_to_sort_by(hash_keys, range_keys)
    items.sort(key=lambda item: [item.attrs[name].cast_value for name in names])
    return items


def cast_value(self: DynamoType) -> Any:
    return self.value if self.type == "S" else _slow_cast(self)


def equal(self: DynamoType, other: object) -> bool:
    if not isinstance(other, DynamoType) or self.type != other.type:
        return False
    return bool(self.value == other.value if self.type == "S" else _slow_cast(self) == _slow_cast(other))


def item_size(self: Item) -> int:
    """In bytes, as DynamoDB counts."""
    return sum(
        len(name) + (len(value.value.encode()) if value.type == "S" else value.size())
        for name, value in self.attrs.items()
    )


def project(self: Item, paths: list[list[str]]) -> Item:
    """A copy with some of the attributes."""
    if any(len(path) > 1 for path in paths):
        return _slow_project(self, paths)
    kept = {path[0] for path in paths}
    return Item(self.hash_key, self.range_key, {name: self.attrs[name] for name in self.attrs if name in kept})


def structure(self: Any, serialized: Any, value: Any, shape: Any, key: str) -> None:
    """A part of an answer. An attribute value is as it shall be already; moto would try out aliases for each tag."""
    if shape.name == "AttributeValue" and type(value) is dict and len(value) == 1 and not _PLAIN.isdisjoint(value):
        self._default_serialize(serialized, value, shape, key)
    else:
        _slow_structure(self, serialized, value, shape, key)


def traverse(self: DepthFirstTraverser, node: Any) -> Any:
    """One pass over an update expression, bottom up. moto finds out anew for each node which classes are concerned."""
    kinds = self.nodes_to_be_processed()
    if UpdateExpression in kinds:  # a check of all that it says, which moto repeats for each of its parts
        return self.process(node)
    return _walk(self, node, -1, kinds)


def _walk(traverser: DepthFirstTraverser, node: Any, at: int, kinds: tuple[type, ...]) -> Any:
    kind: Any = type(node)
    if not _is_a(kind, Node):
        return node
    parent = node.parent
    for index, child in enumerate(node.children or ()):
        traverser.pre_processing_of_child(node, index)
        _walk(traverser, child, index, kinds)
    if _is_a(kind, *kinds):
        node = traverser.process(node)
        node.parent = parent
        if parent:
            parent.children[at] = node
    return node


@cache
def _is_a(kind: Any, *kinds: Any) -> bool:
    return issubclass(kind, kinds)


def twin(node: Any) -> Any:
    """A copy of an update expression as it was parsed, from here down. Nodes have nothing of their own but each other,
    and texts."""
    copied: Any = object.__new__(type(node))
    vars(copied).update(vars(node))
    if node.children:
        copied.children = [twin(child) if isinstance(child, Node) else child for child in node.children]
        for child in copied.children:
            if isinstance(child, Node):
                child.parent = copied
    return copied


def lexed(self: ConditionExpressionParser) -> deque[Any]:
    """The words of a condition, which are the same whenever it says the same."""
    return deque(_lexed(self.condition_expression))


@cache
def _lexed(expression: str | None) -> tuple[Any, ...]:
    return tuple(_slow_lex(ConditionExpressionParser(expression, None, None)))
