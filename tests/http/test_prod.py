"""The routes of the app on the stage prod. The app is imported in its own process with the settings of prod."""

import os
import subprocess
import sys
from pathlib import Path

PRINT_RESPONSES = """
from app import app
from infra.local.gateway import Gateway

gateway = Gateway(app)
for path in ("/api/auth/pin/login", "/api/auth/pin"):
    answer = gateway.call("POST", path, (("Content-Type", "application/json"),), b'{"email": "a@b", "pin": "123456"}')
    print(answer.status, answer.json()["error"])
print(*sorted(path for path in app.routes if "pin" in path))
"""


def test_pin_routes_do_not_exist_on_prod_with_any_settings() -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DEVFLOW_")}
    env = inherited | {"DEVFLOW_STAGE": "prod", "DEVFLOW_PIN_LOGIN": "1", "DEVFLOW_LOG_LEVEL": "ERROR"}
    root = Path(__file__).parents[2]
    ran = subprocess.run(
        [sys.executable, "-c", PRINT_RESPONSES], cwd=root, env=env, capture_output=True, text=True, check=True
    )
    assert ran.stdout.splitlines() == ["404 Not found", "404 Not found", ""]
