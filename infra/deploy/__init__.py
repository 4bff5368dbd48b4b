"""Deploys a stage to an AWS account and removes it (`make deploy STAGE=dev`, `make destroy STAGE=dev`).

The modules in the order in which `make deploy` uses them:

    checks.py              finds errors before anything is changed
    package.py             builds the zip that all functions run
      dependencies.py      installs the libraries of that zip
      trim.py              removes the parts of the libraries that no function uses
    stack.py               creates or updates the CloudFormation stack of infra/template.yaml
      resource_import.py   imports tables and the secret that an earlier stack has retained
    table_settings.py      repairs the settings of restored tables, which CloudFormation does not check
    deployed_resources.py  records for Chalice which resources exist
    chalice_cli.py         runs Chalice, which deploys the functions, roles, triggers and the API
    resource_settings.py   sets what Chalice cannot configure
    health_check.py        waits until the stage reports that it is healthy

    destroy.py             removes a stage, except for the data of prod
    chalice_hook.py        runs when `chalice deploy` is used directly

stage.py, aws_account.py and deploy_error.py are shared by all of them.

Every step compares the actual state with the required one and changes only what differs. A run that was interrupted at
any point can be repeated.
"""
