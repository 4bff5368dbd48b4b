"""`python -m bench.cost`: write docs/cost.md."""

from tests.support import environment

environment.prepare()

from bench.cost import PAGE, page  # noqa: E402  # this module reads the environment

PAGE.write_text(page.render(), encoding="utf-8")
print(f"Wrote {PAGE.name}. An idle agent that polls every five seconds costs {page.idle_ratio():.1f} times as much.")
