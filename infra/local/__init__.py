"""The local stage: all of DevFlow on loopback, without any other service (`make run`, `python -m infra.local`).

    gateway.py         replaces API Gateway: turns an HTTP request into a Lambda proxy event, and the result back
    event_poller.py    replaces Lambda's event sources (SQS and EventBridge): invokes the event handlers
    moto_server.py     replaces DynamoDB and SQS, in a child process
    moto_tuning.py     makes moto thread-safe and faster
    local_aws.py       starts that process, points the AWS clients of this one at it, and deploys infra/template.yaml
    mail_catcher.py    replaces SES: prints each mail and keeps it for /local/mail
    lambda_context.py  the context object that Lambda passes to a handler
    local_stage.py     the endpoints /local/clock and /local/mail
    access.py          which hosts and origins may call the stage
    http_server.py     the HTTP server in front of the gateway
    banner.py          the text that `make run` prints
    __main__.py        starts and stops all of them

Tests use the gateway, the event poller and the deployment in their own process.
"""
