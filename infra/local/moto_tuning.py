"""Makes moto thread-safe, and fast enough for a few thousand items. Its responses stay the same.

DynamoDB works in parallel partitions, but moto keeps a table in one list. A moto query sorts and measures every row of
the table, with several Python calls for each comparison. The functions here do the same work faster. `tune` patches
them into moto.
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
    """Patch moto in this process. A second call has no effect."""
    handler, backend, table, value = map(_any, (DynamoHandler, DynamoDBBackend, Table, DynamoType))
    item, serializer, queues, traverser = map(_any, (Item, ResponseSerializer, sqs.SQSBackend, DepthFirstTraverser))
    handler.call_action = call_action
    backend.transact_write_items = transact_write_items
    table.__deepcopy__ = lambda self, _: self  # moto copies tables only for a rollback; see `transact_write_items`
    table.all_items = all_items
    table.sorted_items = sorted_items
    value.cast_value = property(cast_value)
    value.__eq__ = equal
    item.project = project
    item.size = item_size
    serializer._serialize_type_structure = structure  # noqa: SLF001
    traverser.traverse = traverse
    parser = _any(UpdateExpressionParser)
    _any(sqs).unix_time_millis = lambda: time.time() * 1_000  # called for each queued message whenever one is sent
    _any(responses).method_names_from_class = cache(_any(responses).method_names_from_class)
    _any(backends)._import_backend = cache(_any(backends)._import_backend)  # noqa: SLF001  # called for each request
    parser.make = cache(parser.make)  # moto copies the result before it changes it
    _any(UpdateExpression).__deepcopy__ = lambda self, _: copy_expression(self)
    _any(ConditionExpressionParser)._lex_condition_expression = lex_condition_expression  # noqa: SLF001
    _any(sqs.Queue).pending_message_groups = property(pending_message_groups)
    queues.is_message_valid_based_on_retention_period = lambda *_: True  # no message here gets days old


def _any(patched: Any) -> Any:
    return patched


def pending_message_groups(self: Any) -> set[str]:
    """Iterates over a copy, because another thread may change the set by receiving messages."""
    return {each.group_id for each in list(self._pending_messages) if each.group_id is not None}


def call_action(self: DynamoHandler) -> Any:
    """One request at a time. moto checks a condition and writes in two steps, so two writers could both succeed."""
    with _lock:
        return _call_action(self)


def transact_write_items(self: DynamoDBBackend, transact_items: list[dict[str, Any]]) -> None:
    """A transaction whose rollback restores copies of the items. moto itself copies the whole tables."""
    before = [_copy_of_item(self.tables[part["TableName"]], part) for item in transact_items for part in item.values()]
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


def _copy_of_item(table: Any, part: dict[str, Any]) -> tuple[Any, DynamoType, DynamoType | None, Item | None]:
    """The table and key of an item in a transaction, and a copy of the stored item (None if there is none)."""
    values = part.get("Key") or part["Item"]
    hash_key = DynamoType(values[table.hash_key_attr])
    range_key = DynamoType(values[table.range_key_attr]) if table.has_range_key else None
    return table, hash_key, range_key, copy.deepcopy(table.get_item(hash_key, range_key))


def all_items(self: Any) -> list[Item]:
    """All rows, sorted by key."""
    if not self.has_range_key:
        return sorted(self.items.values(), key=lambda item: item.hash_key.cast_value)
    rows = [item for partition in self.items.values() for item in partition.values()]
    return sorted(rows, key=lambda item: (item.hash_key.cast_value, item.range_key.cast_value))


def sorted_items(self: Any, hash_keys: list[str], range_keys: list[str | None], items: list[Item]) -> list[Item]:
    """The rows of an index, sorted by the index's key. Equal rows stay in the order of the table's key."""
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
    """The size in bytes, as DynamoDB computes it."""
    return sum(
        len(name) + (len(value.value.encode()) if value.type == "S" else value.size())
        for name, value in self.attrs.items()
    )


def project(self: Item, paths: list[list[str]]) -> Item:
    """A copy that has only these attributes."""
    if any(len(path) > 1 for path in paths):
        return _slow_project(self, paths)
    kept = {path[0] for path in paths}
    return Item(self.hash_key, self.range_key, {name: self.attrs[name] for name in self.attrs if name in kept})


def structure(self: Any, serialized: Any, value: Any, shape: Any, key: str) -> None:
    """Serialize a part of a response. Attribute values need no conversion; moto would look up aliases for each one."""
    if shape.name == "AttributeValue" and type(value) is dict and len(value) == 1 and not _PLAIN.isdisjoint(value):
        self._default_serialize(serialized, value, shape, key)
    else:
        _slow_structure(self, serialized, value, shape, key)


def traverse(self: DepthFirstTraverser, node: Any) -> Any:
    """Traverse an update expression once, bottom up. moto computes the classes to process again for each node."""
    kinds = self.nodes_to_be_processed()
    if UpdateExpression in kinds:  # a check of the whole expression, which moto repeats for each part
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


def copy_expression(node: Any) -> Any:
    """A copy of a parsed update expression. A node contains only other nodes and strings."""
    copied: Any = object.__new__(type(node))
    vars(copied).update(vars(node))
    if node.children:
        copied.children = [copy_expression(child) if isinstance(child, Node) else child for child in node.children]
        for child in copied.children:
            if isinstance(child, Node):
                child.parent = copied
    return copied


def lex_condition_expression(self: ConditionExpressionParser) -> deque[Any]:
    """The tokens of a condition expression. Equal expressions have equal tokens, so they are cached."""
    return deque(_lex(self.condition_expression))


@cache
def _lex(expression: str | None) -> tuple[Any, ...]:
    return tuple(_slow_lex(ConditionExpressionParser(expression, None, None)))
