"""The local stage: all of DevFlow on loopback, with nothing else needed (`make run`, `python -m infra.local`).

    gateway.py      stands in for API Gateway: an HTTP request becomes a Lambda proxy event, and back
    pump.py         stands in for SQS's and EventBridge's side of Lambda: feeds the event handlers
    moto_server.py  stands in for DynamoDB and SQS themselves, as a child process
    aws.py          starts that child, points this process at it, and deploys infra/template.yaml into it
    postbox.py      stands in for SES: prints what is mailed, and keeps it for /local/mail
    clock.py        /local/clock: moves the stage's clock, so that nobody has to wait
    server.py       HTTP on loopback in front of the gateway
    banner.py       what to try next
    __main__.py     puts them together

The gateway, the pump and the deployment serve the tests in process as well.
"""
