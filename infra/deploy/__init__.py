"""Puts a stage into an AWS account, and takes it out again (`make deploy STAGE=dev`, `make destroy STAGE=dev`).

    checks.py     first: what can be wrong before anything is changed
    package.py    the zip that all functions run; dependencies.py: what it needs; trim.py: and what of that
    stack.py      CloudFormation: what must outlive the code, from infra/template.yaml
    record.py     tells Chalice what is there already, whoever made it and however far it came
    functions.py  Chalice itself: functions, roles, triggers and the API
    settings.py   what Chalice cannot say: gateway responses, partial batches, retries of the schedule
    answers.py    at last: whether the stage answers
    destroy.py    all of it away again, but for what must stay
    chalice_hook.py  what `chalice deploy` does when it is run directly
    stage.py, account.py, problems.py    what these share

Every step leaves what is right as it is, so all of it may be cut short anywhere and run again.
"""
