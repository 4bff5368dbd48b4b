"""AWS services other than DynamoDB: one botocore session, SQS for messages, SES for mail."""
