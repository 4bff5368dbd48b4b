"""`python -m infra.reference`: write the generated regions of the reference pages."""

from tests.support import environment

environment.prepare()

import app  # noqa: E402  # what reads the environment comes after it
from chalicelib.http import route_specs  # noqa: E402
from chalicelib.openapi.document import build  # noqa: E402
from infra.reference import PAGES, render  # noqa: E402

app.app.load_all()
document = build(route_specs(app.app.routes))
for page in PAGES:
    text = page.read_text(encoding="utf-8")
    page.write_text(render(text, document), encoding="utf-8")
    print(f"docs/{page.name} written")
