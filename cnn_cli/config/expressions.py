"""Arithmetic in a config's templates: `$k`, `$(k // 2)`, `conv$(i + 1)`.

    expression = sum [("==" | "!=" | "<" | "<=" | ">" | ">=") sum]
    sum        = product {("+" | "-") product}
    product    = factor {("*" | "/" | "//" | "%") factor}
    factor     = "-" factor | number | name | name "(" expression {"," expression} ")"
               | "(" expression ")"

Expressions are parsed and evaluated here by this grammar, never by Python's `eval`.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from cnn_cli.errors import suggest

Scope = Mapping[str, Any]

LONGEST = 200  # characters
DEEPEST = 20  # parentheses
LARGEST = 2**53

NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_TOKEN = re.compile(
    rf"\s*(?:(?P<number>[0-9]+(?:\.[0-9]+)?)|(?P<name>{NAME})|(?P<sign>//|[=!<>]=|[-+*/%<>(),]))"
)
_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_WHOLE = ("//", "%")  # operators of integers only
_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
}


class ExpressionError(ValueError):
    """An invalid expression.

    Args:
        rule: what must hold.
        got: what was found instead; None if the rule is enough.
    """

    def __init__(self, rule: str, got: str | None = None) -> None:
        super().__init__(rule)
        self.rule = rule
        self.got = got


def make_divisible(value: float, divisor: int = 8) -> int:
    """Return the nearest multiple that is at least 0.9 of the value (as torchvision's
    `_make_divisible`).
    """
    if not isinstance(divisor, int) or divisor < 1:
        raise ExpressionError("make_divisible needs a whole divisor above 0", repr(divisor))
    nearest = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * value else nearest


# By name, with the smallest and largest number of arguments.
FUNCTIONS: Mapping[str, tuple[Callable[..., Any], int, int]] = {
    "ceil": (math.ceil, 1, 1),
    "make_divisible": (make_divisible, 1, 2),
    "max": (max, 2, 10),
    "min": (min, 2, 10),
    "round": (round, 1, 1),
}


def substitute(text: str, scope: Scope) -> Any:
    """Replace each `$name` and `$(expression)` in `text`.

    A text that consists of one of them only becomes its value, of any type; within a longer text,
    the value is formatted.

    Raises:
        ExpressionError: what is wrong.
    """
    parts: list[Any] = []
    rest = text
    while "$" in rest:
        before, _, rest = rest.partition("$")
        if before:
            parts.append(before)
        if rest.startswith("("):
            end = _closing(rest, text)
            parts.append(evaluate(rest[1:end], scope))
            rest = rest[end + 1 :]
        elif name := re.match(NAME, rest):
            parts.append(_look_up(name[0], scope))
            rest = rest[name.end() :]
        else:
            raise ExpressionError(
                "'$' must be followed by a name, or an expression in ( )", repr(text)
            )
    if rest or not parts:
        parts.append(rest)
    if len(parts) == 1:
        return parts[0]
    for part in parts:
        if isinstance(part, list | dict | None):
            raise ExpressionError("only a number or a word can be part of a text", repr(text))
    return "".join(map(str, parts))


def evaluate(text: str, scope: Scope) -> Any:
    """Return the value of an expression.

    Raises:
        ExpressionError: what is wrong.
    """
    if len(text) > LONGEST:
        raise ExpressionError(f"an expression has at most {LONGEST} characters", str(len(text)))
    return _Reader(text, scope).whole()


def _closing(rest: str, text: str) -> int:
    """Return the position of the parenthesis that closes the one at the start."""
    depth = 0
    for i, char in enumerate(rest):
        depth += (char == "(") - (char == ")")
        if depth == 0:
            return i
    rule = "'$(' lacks its ')'; within [ ] and { }, quote an expression with a comma"
    raise ExpressionError(rule, repr(text))


def _look_up(name: str, scope: Scope) -> Any:
    if name not in scope:
        raise ExpressionError(f"there is no such value.{suggest(name, scope)}", repr(f"${name}"))
    return scope[name]


class _Reader:
    """Parses an expression from left to right and evaluates it on the way."""

    def __init__(self, text: str, scope: Scope) -> None:
        self._text = text
        self._scope = scope
        self._depth = 0
        self._end = 0
        self._kind, self._token = "", ""
        self._next()

    def whole(self) -> Any:
        value = self._comparison()
        if self._kind:
            raise self._unexpected()
        return value

    def _next(self) -> str:
        """Advance by one token and return the previous one."""
        token = self._token
        rest = self._text[self._end :]
        found = _TOKEN.match(rest)
        if found is not None:
            self._kind, self._token = str(found.lastgroup), found[str(found.lastgroup)]
            self._end += found.end()
        elif rest.strip():
            self._kind, self._token = "other", rest.strip()[0]
        else:
            self._kind = self._token = ""
        return token

    def _comparison(self) -> Any:
        value = self._sum()
        if self._token in _COMPARISONS:
            sign = self._next()
            return _COMPARISONS[sign](_number(value, sign), _number(self._sum(), sign))
        return value

    def _sum(self) -> Any:
        value = self._product()
        while self._token in ("+", "-"):
            value = _computed(self._next(), value, self._product())
        return value

    def _product(self) -> Any:
        value = self._factor()
        while self._token in ("*", "/", "//", "%"):
            value = _computed(self._next(), value, self._factor())
        return value

    def _factor(self) -> Any:
        self._depth += 1
        if self._depth > DEEPEST:
            raise ExpressionError(f"an expression is at most {DEEPEST} levels deep")
        value = self._any_factor()
        self._depth -= 1
        return value

    def _any_factor(self) -> Any:
        kind = self._kind
        if kind == "number":
            token = self._next()
            return _bounded(float(token) if "." in token else int(token))
        if kind == "name":
            name = self._next()
            return self._call(name) if self._token == "(" else _look_up(name, self._scope)
        if self._token == "-":
            self._next()
            return -_number(self._factor(), "-")
        if self._token != "(":
            raise self._unexpected()
        self._next()
        value = self._comparison()
        self._close()
        return value

    def _call(self, name: str) -> Any:
        if name not in FUNCTIONS:
            known = f"{', '.join(FUNCTIONS)}.{suggest(name, FUNCTIONS)}"
            raise ExpressionError(f"a function is one of {known}", repr(name))
        function, least, most = FUNCTIONS[name]
        self._next()
        arguments = [self._comparison()]
        while self._token == ",":
            self._next()
            arguments.append(self._comparison())
        self._close()
        if not least <= len(arguments) <= most:
            count = str(least) if least == most else f"{least} to {most}"
            raise ExpressionError(f"{name} takes {count} numbers", str(len(arguments)))
        return _bounded(function(*(_number(each, name) for each in arguments)))

    def _close(self) -> None:
        if self._token != ")":
            raise self._unexpected()
        self._next()

    def _unexpected(self) -> ExpressionError:
        got = repr(self._token) if self._token else "its end"
        return ExpressionError(f"must be arithmetic, as in k // 2: {self._text.strip()!r}", got)


def _computed(sign: str, left: Any, right: Any) -> Any:
    left, right = _number(left, sign), _number(right, sign)
    if sign in _WHOLE and not (isinstance(left, int) and isinstance(right, int)):
        raise ExpressionError(f"{sign} is for whole numbers", f"{left} {sign} {right}")
    if sign in ("/", *_WHOLE) and right == 0:
        raise ExpressionError("there is no division by 0", f"{left} {sign} 0")
    return _bounded(_OPERATORS[sign](left, right))


def _number(value: Any, sign: str) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ExpressionError(f"{sign} is for numbers", "nothing" if value is None else repr(value))
    return value


def _bounded(value: Any) -> Any:
    if not abs(value) <= LARGEST:
        raise ExpressionError("numbers are at most 2^53", "a larger one")
    return value
