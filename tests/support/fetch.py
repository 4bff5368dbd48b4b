"""Downloads the packages that the tests need to run functions, so that no test needs the network.

Run by the Makefile: `python -m tests.support.fetch`.
"""

from infra.deploy.dependencies import installed, required
from infra.deploy.stage import PROJECT
from tests.support.lambda_runtime import machine, runtime_client

if __name__ == "__main__":
    for architecture in {"arm64", machine()}:
        installed(PROJECT, required(PROJECT), architecture)
    runtime_client()
