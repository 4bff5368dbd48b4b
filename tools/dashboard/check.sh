#!/bin/sh
# Checks the dashboard's scripts: `check.sh types` (tsc, strict) or `check.sh lint` (eslint).
#
# It is skipped, with the reason, where node or npm is missing or npm cannot reach its registry; CI=1 makes that a failure.
# PYTHON is the interpreter that has the platform's requirements; by default .venv/bin/python.

set -eu

check="${1:-}"
case "$check" in
  types | lint) ;;
  *) echo "usage: $0 types|lint" >&2; exit 2 ;;
esac

tools=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$tools/../.." && pwd)
python="${PYTHON:-$root/.venv/bin/python}"

skip() {
  echo "dashboard $check: skipped: $1"
  [ -z "${CI:-}" ] || exit 1
  exit 0
}

for program in node npm; do
  command -v "$program" >/dev/null 2>&1 || skip "$program is not installed"
done
# As the newest of the tools (eslint) requires.
node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)' ||
  skip "node $(node --version) is older than 20.19"

cd "$tools"
if ! cmp -s package-lock.json node_modules/.installed; then
  if ! installed=$(npm ci --fetch-retries=1 --fetch-timeout=15000 2>&1); then
    case "$installed" in
      *ENOTFOUND* | *EAI_AGAIN* | *ECONNREFUSED* | *ETIMEDOUT* | *ENETUNREACH* | *ECONNRESET*)
        skip "npm cannot reach its registry" ;;
    esac
    echo "$installed" >&2
    exit 1
  fi
  cp package-lock.json node_modules/.installed
fi

if [ "$check" = types ]; then
  cache="$root/.cache/dashboard"
  mkdir -p "$cache"
  cd "$root"
  # Its output is the request's log line.
  "$python" - "$cache/openapi.json" >/dev/null <<'END'
import os, pathlib, sys
from infra.local.local_aws import set_aws_environment

set_aws_environment(None)  # the document needs no AWS account
os.environ["DEVFLOW_STAGE"] = "local"

from app import app
from infra.local.gateway import Gateway

document = Gateway(app).call("GET", "/api/openapi.json")
pathlib.Path(sys.argv[1]).write_bytes(document.body)
END
  cd "$tools"
  node generate-api-types.js "$cache/openapi.json" "$cache/api.d.ts"
  node_modules/.bin/tsc --project tsconfig.json
else
  cd "$root"
  "$tools/node_modules/.bin/eslint" --config "$tools/eslint.config.js" --max-warnings 0 chalicelib/dashboard/static tools/dashboard
fi
echo "dashboard $check: ok"
