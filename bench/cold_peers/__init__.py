"""The least that a function can be, to compare cold starts with: one request to DynamoDB, and an answer in JSON."""
