"""A small DynamoDB that answers each request after a fixed time, over HTTP, in a process of its own.

Amazon's DynamoDB Local and moto share the processors with what is measured, and answer the slower the more they have to
do. This server does little work for a request, so that a benchmark measures the platform at a known latency of the
database. It has real rows: it evaluates conditions and updates, maintains the indexes, and writes a transaction
completely or not at all. While a write is in progress, another write to the same row is a conflict, as in DynamoDB.

expression_parser    conditions and updates
stored_tables        the rows and indexes, and the operations on them
__main__             the HTTP server, which also accepts the messages that are sent to SQS

It supports only what the sweep uses. `tests/service/test_wire_dynamodb.py` compares it with moto.
"""
