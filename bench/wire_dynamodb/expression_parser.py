"""DynamoDB's condition and update expressions, parsed once for each text.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.OperatorsAndFunctions.html
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.UpdateExpressions.html
"""

import operator
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

StoredItem = dict[str, Any]
"""An item in DynamoDB's JSON."""

Values = Mapping[str, Any]
"""The values of a request, by their placeholders."""

Operand = Callable[[StoredItem, Values], Any]
"""Returns a value in DynamoDB's JSON. None if the item does not have it."""

Condition = Callable[[StoredItem, Values], bool]
Names = tuple[tuple[str, str], ...]
"""The names of a request, by their placeholders."""

_TOKEN = re.compile(r"\s*([:#]?\w+|<=|>=|<>|[=<>(),.\[\]+-])")
_COMPARATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def plain(value: Any) -> Any:
    """A value whose comparison with others of its type is that of DynamoDB."""
    ((tag, content),) = value.items()
    match tag:
        case "N":
            return float(content) if "." in content else int(content)
        case "M":
            return {name: plain(each) for name, each in content.items()}
        case "L":
            return [plain(each) for each in content]
        case "SS":
            return set(content)
        case _:
            return content


class _Parser:
    def __init__(self, text: str, names: Names) -> None:
        self.tokens = _TOKEN.findall(text)
        self.names = dict(names)

    def peek(self) -> str:
        return self.tokens[0] if self.tokens else ""

    def take(self, expected: str | None = None) -> str:
        token: str = self.tokens.pop(0)
        if expected not in (None, token, token.upper()):
            raise ValueError(f"expected {expected}, not {token}")
        return token

    def takes(self, word: str) -> bool:
        """Take the next token if it is this word."""
        if self.peek().upper() != word:
            return False
        self.take()
        return True

    # Conditions.

    def condition(self) -> Condition:
        left = self._conjunction()
        while self.takes("OR"):
            left = _either(left, self._conjunction())
        return left

    def conjuncts(self) -> list[Condition]:
        """The conditions that AND joins, each on its own."""
        found = [self._negation()]
        while self.takes("AND"):
            found.append(self._negation())
        return found

    def _conjunction(self) -> Condition:
        parts = self.conjuncts()
        return parts[0] if len(parts) == 1 else lambda item, values: all(part(item, values) for part in parts)

    def _negation(self) -> Condition:
        if self.takes("NOT"):
            negated = self._negation()
            return lambda item, values: not negated(item, values)
        return self._comparison()

    def _comparison(self) -> Condition:
        if self.takes("("):
            inner = self.condition()
            self.take(")")
            return inner
        if self.peek() in _FUNCTIONS:
            function = _FUNCTIONS[self.take()]
            return function(*self._arguments())
        left = self.operand()
        if self.takes("BETWEEN"):
            low = self.operand()
            self.take("AND")
            return _between(left, low, self.operand())
        if self.takes("IN"):
            return _is_in(left, self._arguments())
        return _compare(_COMPARATORS[self.take()], left, self.operand())

    def _arguments(self) -> list[Operand]:
        self.take("(")
        arguments = [self.operand()]
        while self.takes(","):
            arguments.append(self.operand())
        self.take(")")
        return arguments

    # Operands.

    def operand(self) -> Operand:
        word = self.peek()
        if word.startswith(":"):
            self.take()
            return lambda _, values: values[word]
        if word == "size":
            self.take()
            return _size(*self._arguments())
        if word == "if_not_exists":
            self.take()
            path, default = self._arguments()
            return lambda item, values: path(item, values) or default(item, values)
        if word == "list_append":
            self.take()
            first, second = self._arguments()
            return lambda item, values: {"L": first(item, values)["L"] + second(item, values)["L"]}
        steps = self.path()
        return lambda item, _: get_at(item, steps)

    def path(self) -> tuple[str, ...]:
        steps = [self._name()]
        while self.takes("."):
            steps.append(self._name())
        return tuple(steps)

    def _name(self) -> str:
        token = self.take()
        return self.names[token] if token.startswith("#") else token

    # Updates.

    def update(self) -> Callable[[StoredItem, Values], StoredItem]:
        changes: list[Callable[[StoredItem, StoredItem, Values], None]] = []
        while self.tokens:
            section = self.take().upper()
            changes.append(self._change(section))
            while self.takes(","):
                changes.append(self._change(section))

        def apply(item: StoredItem, values: Values) -> StoredItem:
            after = dict(item)
            for change in changes:
                change(item, after, values)
            return after

        return apply

    def _change(self, section: str) -> Callable[[StoredItem, StoredItem, Values], None]:
        path = self.path()
        if section == "REMOVE":
            return lambda _, after, __: set_at(after, path, None)
        if section == "SET":
            self.take("=")
            value = self.operand()
            sign = {"+": 1, "-": -1}.get(self.peek(), 0)
            if sign:
                self.take()
                value = _add(value, self.operand(), sign)
            return lambda before, after, values: set_at(after, path, value(before, values))
        operand = self.operand()
        if section == "ADD":
            return lambda before, after, values: set_at(after, path, _added(get_at(before, path), operand({}, values)))
        raise ValueError(f"{section} is not supported")


def _either(left: Condition, right: Condition) -> Condition:
    return lambda item, values: left(item, values) or right(item, values)


def _compare(compare: Callable[[Any, Any], bool], left: Operand, right: Operand) -> Condition:
    def holds(item: StoredItem, values: Values) -> bool:
        first, second = left(item, values), right(item, values)
        if first is None or second is None or first.keys() != second.keys():
            return compare is operator.ne
        return compare(plain(first), plain(second))

    return holds


def _between(operand: Operand, low: Operand, high: Operand) -> Condition:
    above, below = _compare(operator.ge, operand, low), _compare(operator.le, operand, high)
    return lambda item, values: above(item, values) and below(item, values)


def _is_in(operand: Operand, candidates: list[Operand]) -> Condition:
    equal = [_compare(operator.eq, operand, candidate) for candidate in candidates]
    return lambda item, values: any(each(item, values) for each in equal)


def _exists(operand: Operand) -> Condition:
    return lambda item, values: operand(item, values) is not None


def _not_exists(operand: Operand) -> Condition:
    return lambda item, values: operand(item, values) is None


def _begins_with(operand: Operand, prefix: Operand) -> Condition:
    def holds(item: StoredItem, values: Values) -> bool:
        value = operand(item, values)
        return value is not None and str(value.get("S", "")).startswith(prefix(item, values)["S"])

    return holds


_FUNCTIONS: dict[str, Callable[..., Condition]] = {
    "attribute_exists": _exists,
    "attribute_not_exists": _not_exists,
    "begins_with": _begins_with,
}


def _size(operand: Operand) -> Operand:
    def size(item: StoredItem, values: Values) -> Any:
        value = operand(item, values)
        return None if value is None else {"N": str(len(next(iter(value.values()))))}

    return size


def _add(first: Operand, second: Operand, sign: int) -> Operand:
    def add(item: StoredItem, values: Values) -> Any:
        return {"N": str(plain(first(item, values)) + sign * plain(second(item, values)))}

    return add


def _added(before: Any, added: Any) -> Any:
    if "SS" in added:
        return {"SS": sorted({*(before or {"SS": []})["SS"], *added["SS"]})}
    return {"N": str(plain(before or {"N": "0"}) + plain(added))}


def get_at(item: StoredItem, path: tuple[str, ...]) -> Any:
    value = item.get(path[0])
    for step in path[1:]:
        if value is None:
            return None
        value = value.get("M", {}).get(step)
    return value


def set_at(item: StoredItem, path: tuple[str, ...], value: Any) -> None:
    """Set an attribute, or remove it (None). The containers on the path are copied, because others refer to them."""
    container = item
    for step in path[:-1]:
        container[step] = {"M": dict(container[step]["M"])}
        container = container[step]["M"]
    if value is None:
        container.pop(path[-1], None)
    else:
        container[path[-1]] = value


@cache
def parse_condition(text: str, names: Names) -> Condition:
    return _Parser(text, names).condition()


@cache
def parse_key_condition(text: str, names: Names) -> tuple[Condition, ...]:
    """The conditions on the keys, the hash key's first. PynamoDB puts two conditions into parentheses."""
    inner = text[1:-1] if text.startswith("(") else text
    return tuple(_Parser(inner, names).conjuncts())


@cache
def parse_update(text: str, names: Names) -> Callable[[StoredItem, Values], StoredItem]:
    return _Parser(text, names).update()
