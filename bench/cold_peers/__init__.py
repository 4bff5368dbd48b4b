"""Small functions to compare cold starts with. Each makes one write to DynamoDB and responds in JSON."""
