"""Whether bubblewrap works on this machine."""

from __future__ import annotations

import pytest

from devflow.sandbox import Sandbox

PROBLEM = Sandbox(enabled=True).find_problem()
requires_bubblewrap = pytest.mark.skipif(bool(PROBLEM), reason=PROBLEM)
