"""The hot calls once more, as one would write them without DevFlow's own code: what `bench/cpu.py` compares with.

Every peer does the same work (`work.py`: the same requests to DynamoDB through a boto3 client, the same checks, the
same rows) and differs in what stands around it: nothing (`bare.py`, the floor), the resolver of aws-lambda-powertools,
FastAPI with Mangum, or Flask with apig-wsgi.
"""
