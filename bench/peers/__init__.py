"""The hot calls implemented without DevFlow's code. `bench/cpu.py` compares DevFlow with them.

All peers do the same work (`common.py`, `heartbeats.py`, `polling.py`, `tasks.py`): the same requests to DynamoDB
through a boto3 client, the same checks and the same rows. They differ in the framework around it: none (`bare.py`, the
floor), the resolver of aws-lambda-powertools, FastAPI with Mangum, or Flask with apig-wsgi.
"""
