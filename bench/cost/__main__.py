"""`python -m bench.cost`: write docs/cost.md."""

from tests.support import environment

environment.prepare()

from bench.cost import PAGE, page  # noqa: E402  # what reads the environment comes after it

PAGE.write_text(page.written(), encoding="utf-8")
print(f"{PAGE.name} written; an idle agent that polls every five seconds costs {page.idle_ratio():.1f} times as much")
