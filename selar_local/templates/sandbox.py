"""Jinja's sandbox with a budget: a hostile template ends in an error, not in a stuck or swollen process.

A template is a program from a file somebody downloaded. Each rendering may use so many rounds, seconds and
characters, counted per thread.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache, wraps
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

_MAX_TEXT = 1 << 24  # characters of one string, the prompt included: far beyond any context
_MAX_TOTAL = 1 << 29  # characters of all strings made on the way
_MAX_STEPS = 300_000  # rounds of loops, calls, filters
_MAX_SECONDS = 10.0
_MAX_RANGE = 10_000

# Filters that look at a value without writing it out; the others pay for its text.
_LIGHT = {"attr", "count", "d", "default", "first", "items", "last", "length", "list", "map", "trim"}
_LIGHT |= {"reject", "rejectattr", "reverse", "select", "selectattr"}
# Filters and string methods whose result may be longer than their arguments together.
_GROWING = {"center", "expandtabs", "indent", "join", "ljust", "replace", "rjust", "tojson", "zfill"}
# These grow too, and no chat template needs them.
_REFUSED = {"batch", "encode", "format_map", "pprint", "slice", "translate", "urlize", "wordwrap", "xmlattr"}
# Fields thousands wide, and widths that come from arguments: %9999d, %*d, {:9999}, {:{}}
_BAD_FORMAT = re.compile(r"%(\([^)]*\))?[-+ #0-9.]*(\*|\d{4})|\{[^{}]*:[^{}]*(\{|\d{4})")


class Refused(jinja2.TemplateError):
    """The template itself called ``raise_exception``."""


class Exhausted(jinja2.TemplateError):
    """The budget is used up."""


class _Budget(threading.local):
    """What the rendering that runs in this thread may still use."""

    steps = _MAX_STEPS
    text = _MAX_TOTAL
    deadline = float("inf")

    def start(self, share: float = 1.0) -> None:
        self.steps, self.text = int(share * _MAX_STEPS), int(share * _MAX_TOTAL)
        self.deadline = time.monotonic() + share * _MAX_SECONDS

    def step(self) -> None:
        self.steps -= 1
        if self.steps < 0 or time.monotonic() > self.deadline:
            raise Exhausted("it runs too long")

    def spend(self, characters: int) -> None:
        """Pay for a string (or list) of about that size, before it is made."""
        self.text -= characters
        if characters > _MAX_TEXT or self.text < 0:
            raise Exhausted("it makes too much text")

    def weigh(self, value: Any) -> int:
        """About how long the value is when written out (exponential, where lists hold lists twice)."""
        total, todo = 0, [value]
        while todo:
            item = todo.pop()
            total += len(item) if isinstance(item, str) else 8
            if isinstance(item, Mapping):
                todo += [*item.keys(), *item.values()]
            elif isinstance(item, (list, tuple)):
                todo += item
            elif isinstance(item, Namespace):
                todo.append(getattr(item, "_Namespace__attrs", None))
            if total > _MAX_TEXT:
                raise Exhausted("it makes too much text")
        return total


class _Instrument(NodeTransformer):
    """Has every round of a loop counted and every ``a ~ b`` measured, by `_Environment.call` and `joined`."""

    def visit_For(self, node: nodes.For) -> nodes.For:
        self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(self._joined([], node.lineno), lineno=node.lineno))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Call:
        self.generic_visit(node)
        return self._joined(node.nodes, node.lineno)

    def _joined(self, parts: list[nodes.Expr], line: int) -> nodes.Call:
        return nodes.Call(nodes.EnvironmentAttribute("joined"), parts, [], None, None, lineno=line)


class _GenerationBlock(Extension):
    """``{% generation %}...{% endgeneration %}`` marks text to train on; here its content alone counts."""

    tags = {"generation"}  # noqa: RUF012 - jinja2's own attribute

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox, with the budget and with what transformers offers to templates."""

    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self) -> None:
        self.budget = _Budget()
        extensions = ["jinja2.ext.loopcontrols", _GenerationBlock]
        super().__init__(trim_blocks=True, lstrip_blocks=True, finalize=self._shown, extensions=extensions)
        self.globals.pop("lipsum", None)
        self.globals.update(raise_exception=_raise_exception, strftime_now=_strftime_now, range=_range)
        self.filters["tojson"] = _tojson
        self.filters.update({n: self._paid(n, f) for n, f in self.filters.items() if n not in _LIGHT})

    def joined(self, *parts: Any) -> str:
        self.budget.spend(self.budget.weigh(parts))
        return "".join(map(str, parts))

    def concat(self, parts: Any) -> str:
        """Joins what a macro, a ``{% set %}`` block or a filter block has written."""
        pieces = list(parts)
        self.budget.spend(sum(map(len, pieces)))
        return "".join(pieces)

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        self.budget.step()
        method = getattr(obj, "__wrapped__", obj)  # the sandbox wraps str.format
        owner = getattr(method, "__self__", None)
        if isinstance(owner, str):
            args = self._pay(method.__name__, (owner, *args), kwargs)[1:]
        return super().call(context, obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        largest = max((abs(x) for x in (left, right) if isinstance(x, (int, float))), default=0)
        size = sum(len(x) for x in (left, right) if isinstance(x, (str, list, tuple)))
        if operator == "%" and isinstance(left, str):
            self._pay("format", (left, right), {})
        elif operator in ("*", "**") and largest > (99 if operator == "**" else 1e15):
            raise jinja2.TemplateError("it computes with numbers that are too large")
        self.budget.spend(int(size * largest) if operator == "*" else size)
        return super().call_binop(context, operator, left, right)

    def _generate(
        self, source: nodes.Template, name: str | None, filename: str | None, defer_init: bool = False
    ) -> str:
        _Instrument().visit(source)
        source.set_environment(self)
        return super()._generate(source, name, filename, defer_init)

    def _shown(self, value: Any) -> Any:
        if not isinstance(value, (str, int, float)):
            self.budget.spend(self.budget.weigh(value))
        return value

    def _paid(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The filter, paid for before it runs (``wraps`` keeps markers such as ``pass_environment``)."""
        skip = 1 if hasattr(function, "jinja_pass_arg") else 0

        @wraps(function)
        def filtered(*args: Any, **kwargs: Any) -> Any:
            self.budget.step()
            return function(*args[:skip], *self._pay(name, args[skip:], kwargs), **kwargs)

        return filtered

    def _pay(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
        """Pays for a filter or string method; returns its arguments, generators among them made lists."""
        args = tuple(list(arg) if isinstance(arg, Iterator) else arg for arg in args)
        weight = self.budget.weigh((args, kwargs))
        if name in _REFUSED or (name == "format" and _BAD_FORMAT.search(str(args[0]))):
            raise jinja2.TemplateError(f"it uses '{name}' in a way that is not supported")
        if name == "replace" and len(args) > 2:
            weight += str(args[0]).count(str(args[1])) * len(str(args[2]))
        elif name in _GROWING:
            sized = [*args[name != "join" :], *kwargs.values()]
            sizes = [len(x) if isinstance(x, str) else x for x in sized if isinstance(x, (str, int))]
            weight *= 1 + max(sizes, default=0)
        self.budget.spend(weight)
        return args


def _raise_exception(message: object = "") -> NoReturn:
    raise Refused(str(message))


def _strftime_now(pattern: str) -> str:
    if _BAD_FORMAT.search(pattern):
        raise jinja2.TemplateError("it formats text in a way that is not supported")
    return datetime.now().strftime(pattern)


def _range(*bounds: int) -> range:
    numbers = range(*bounds)
    if len(numbers) > _MAX_RANGE:
        raise Exhausted("it runs too long")
    return numbers


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    """JSON as models saw it in training: no HTML escapes (jinja2's own has them), no ASCII escapes."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


@lru_cache(maxsize=1)
def environment() -> _Environment:
    return _Environment()
