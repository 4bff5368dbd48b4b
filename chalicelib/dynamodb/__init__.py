"""The only package that calls DynamoDB. Stores use its names as `dynamodb.…`; the modules of the package are internal.

operations    reads, single writes and transactions
clauses       the conditions and updates that stores are made of
expressions   what a clause is, and how clauses are rendered
marshalling   conversion between DynamoDB's item format and Python values
client        the connection
retries       which requests are retried, and when
"""

from chalicelib.dynamodb.clauses import (
    add,
    at_least,
    at_most,
    begins_with,
    between,
    contains,
    delete_from,
    equals,
    exists,
    greater_than,
    is_in,
    less_than,
    not_equals,
    not_exists,
    remove,
    set_or_remove,
    set_value,
)
from chalicelib.dynamodb.expressions import Clause, clause
from chalicelib.dynamodb.marshalling import Item, Row, not_expired, shard
from chalicelib.dynamodb.operations import (
    ConditionFailed,
    ItemTooLarge,
    Page,
    TransactionCancelled,
    TransactItem,
    batch_get,
    check_tables,
    connect,
    count_items,
    get_item,
    item,
    paginate,
    query,
    register_table,
    transact_check,
    transact_delete,
    transact_put,
    transact_update,
    transact_write,
    update_item,
)

__all__ = [
    "Clause", "ConditionFailed", "Item", "ItemTooLarge", "Page", "Row", "TransactItem", "TransactionCancelled", "add",
    "at_least", "at_most", "batch_get", "begins_with", "between", "check_tables", "clause", "connect", "contains",
    "count_items", "delete_from", "equals", "exists", "get_item", "greater_than", "is_in", "item", "less_than",
    "not_equals", "not_exists", "not_expired", "paginate", "query", "register_table", "remove", "set_or_remove",
    "set_value", "shard", "transact_check", "transact_delete", "transact_put", "transact_update", "transact_write",
    "update_item",
]  # fmt: skip
