"""The partition model: the load of a simulated fleet on each partition key of the tables and their indexes.

`recorder` records the requests of real calls, `tables` derives the units of each request, `fleets` has the simulated
fleets and their calls, `replay` adds up the units by key and second, and `report` compares them with DynamoDB's limits.
"""
