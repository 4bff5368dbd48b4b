"""app.py runs this file when one of Chalice's commands loads it. Chalice itself has no hooks.

This file is not part of the deployed package.
"""

# ruff: noqa: INP001  # a script, which no module imports

from infra.deploy import chalice_hook

chalice_hook.before_deploy()
