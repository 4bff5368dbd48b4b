"""Shared by the tests: AWS in this process, a recorder of AWS requests, Amazon's DynamoDB Local, and a client."""
