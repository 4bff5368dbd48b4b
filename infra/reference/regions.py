"""Find the generated regions of a page and fill them in.

Each region names what it shows. Paths and methods are those of the OpenAPI document:

    operation METHOD PATH   token, limits, parameters, body, response and errors of one operation
    body METHOD PATH        the fields of its request body
    response METHOD PATH    the fields of its response
    index                   every operation of the API: method and path, token, purpose
    limits OPERATION, ...   the limits of all fields of these operations' request bodies
"""

import re
from collections.abc import Callable

from infra.reference import tables
from infra.reference.types import Json

_REGION = re.compile(r"(<!-- generated: ([^\n]+?) -->\n).*?(<!-- end -->)", re.DOTALL)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


class PagesError(Exception):
    """A page asks for something that the OpenAPI document does not have."""


def render(page: str, document: Json) -> str:
    """The page with every region as it is generated from the document. Raises PagesError."""
    anchors = _operations(page)

    def fill(region: re.Match[str]) -> str:
        opening, what, end = region.groups()
        return f"{opening}{_content(what, document, anchors)}\n{end}"

    return _REGION.sub(fill, page)


def regions(page: str) -> list[str]:
    """What the generated regions of a page show, in their order."""
    return [what for _, what, _ in _REGION.findall(page)]


def _operations(page: str) -> dict[str, str]:
    """For each operation that a page describes (`POST /api/tasks`), the anchor of the heading above it."""
    found: dict[str, str] = {}
    anchor = ""
    for line in page.splitlines():
        heading = _HEADING.match(line)
        if heading:
            anchor = to_anchor(heading[1])
        elif line.startswith("<!-- generated: operation "):
            found[line.removeprefix("<!-- generated: operation ").removesuffix(" -->")] = anchor
    return found


def to_anchor(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w -]", "", text).strip().lower().replace(" ", "-")


def _content(what: str, document: Json, anchors: dict[str, str]) -> str:
    if what == "index":
        return tables.index(document, anchors)
    kind, _, addresses = what.partition(" ")
    operations = [_operation(document, address) for address in addresses.split(", ")]
    if kind == "limits":
        return tables.limits(document, operations)
    tables_of_one: dict[str, Callable[[Json, Json], str]] = {
        "operation": tables.operation,
        "body": tables.body,
        "response": tables.response,
    }
    if kind not in tables_of_one or len(operations) != 1:
        raise PagesError(f"there is no region `{what}`")
    return tables_of_one[kind](document, operations[0])


def _operation(document: Json, address: str) -> Json:
    method, _, path = address.partition(" ")
    try:
        operation: Json = document["paths"][path][method.lower()]
    except KeyError:
        raise PagesError(f"there is no `{address}` in the OpenAPI document") from None
    return operation
