"""AWS's list prices in us-east-1, in dollars, without any free tier. Looked up in November 2025, on the page that each
price names.

The prices are those of on-demand DynamoDB and arm64 functions, which infra/template.yaml and .chalice/config.json use.
"""

from dataclasses import dataclass

MILLION = 1_000_000
GB = 1_000_000_000


@dataclass(frozen=True)
class Price:
    """Dollars for one unit, a description of the unit, and the page of AWS that states the price."""

    dollars: float
    what: str
    page: str


API = "https://aws.amazon.com/api-gateway/pricing/"
EC2 = "https://aws.amazon.com/ec2/pricing/on-demand/"
LAMBDA = "https://aws.amazon.com/lambda/pricing/"
DYNAMODB = "https://aws.amazon.com/dynamodb/pricing/on-demand/"
SQS = "https://aws.amazon.com/sqs/pricing/"
CLOUDWATCH = "https://aws.amazon.com/cloudwatch/pricing/"
SECRETS = "https://aws.amazon.com/secrets-manager/pricing/"
KMS = "https://aws.amazon.com/kms/pricing/"

API_REQUEST = Price(3.50 / MILLION, "a million requests to a REST API (the first 333 million a month)", API)
API_REQUEST_SECOND_TIER = Price(2.80 / MILLION, "a million further requests (the next 667 million a month)", API)
BYTE_OUT = Price(0.09 / GB, "a GB of responses to the internet", EC2)
LAMBDA_REQUEST = Price(0.20 / MILLION, "a million invocations of a function", LAMBDA)
LAMBDA_GB_SECOND = Price(0.0000133334, "a million GB-seconds of functions on arm64", LAMBDA)
READ_UNIT = Price(0.125 / MILLION, "a million read request units", DYNAMODB)
WRITE_UNIT = Price(0.625 / MILLION, "a million write request units", DYNAMODB)
STORED_GB = Price(0.25, "a GB stored for a month", DYNAMODB)
RECOVERABLE_GB = Price(0.20, "a GB with point-in-time recovery for a month", DYNAMODB)
SQS_REQUEST = Price(0.40 / MILLION, "a million requests to standard queues", SQS)
LOG_BYTE = Price(0.50 / GB, "a GB of logs ingested", CLOUDWATCH)
LOG_STORED_GB = Price(0.03, "a GB of logs stored for a month", CLOUDWATCH)
METRIC = Price(0.30, "a custom metric with a value in every hour of a month", CLOUDWATCH)
ALARM = Price(0.10, "an alarm for a month", CLOUDWATCH)
DASHBOARD = Price(3.00, "a CloudWatch dashboard for a month", CLOUDWATCH)
SECRET = Price(0.40, "a secret for a month", SECRETS)
SECRET_REQUEST = Price(0.05 / 10_000, "10,000 reads of a secret", SECRETS)
KMS_REQUEST = Price(0.03 / 10_000, "10,000 uses of the AWS managed key of DynamoDB", KMS)

API_FIRST_TIER = 333 * MILLION
"""Requests a month at the first price."""
