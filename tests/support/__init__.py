"""What the tests share: AWS in process, its recorder, Amazon's DynamoDB Local, and a client."""
