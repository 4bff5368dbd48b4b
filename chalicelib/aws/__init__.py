"""AWS services other than DynamoDB: one botocore session, SQS to send and receive messages, SES to send mail."""
