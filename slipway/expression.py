"""Small declared expressions over a row: ``0.2 + 0.1 * (hour > 17)``, ``carrier in ('AA', 'UA')``.

Python's own syntax, cut down to arithmetic, comparison, and/or/not, conditionals, ``min``, ``max``,
``abs`` and ``round``. A name is a column; ``row["odd name"]`` reaches one whose name is no Python
name. Nothing else parses, so nothing else can run: no attribute, no power, no call of anything.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any

_FUNCTIONS: dict[str, Any] = {"min": min, "max": max, "abs": abs, "round": round}
_NODES = (
    *(ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.UAdd),
    *(ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod),
    *(ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn),
    *(ast.Is, ast.IsNot, ast.IfExp, ast.Name, ast.Load, ast.Constant, ast.Tuple, ast.List),
    *(ast.Call, ast.Subscript),
)
_LONGEST = 1000

Expression = Callable[[Mapping[str, Any]], Any]
"""A row to a value.

Raises:
    KeyError, TypeError, ZeroDivisionError...: the row does not fit the expression (`Unfit`); a
        KeyError names the column that it lacks.
"""

Unfit = (KeyError, TypeError, ZeroDivisionError, OverflowError, ValueError)
"""What an expression may raise on a row that does not fit it."""


def compile_expression(source: str) -> Expression:
    """Make an expression callable.

    Raises:
        ValueError: it is none of the syntax above; the message says which part.
    """
    if len(source) > _LONGEST:
        raise ValueError(f"it is longer than {_LONGEST} characters")
    try:
        tree = ast.parse(source.strip(), mode="eval")
    except SyntaxError as error:
        raise ValueError(f"it does not parse: {error.msg}") from error
    for node in ast.walk(tree):
        _check(node)
    # As a function of the row, its names turned into look-ups: a sixth of the cost of giving eval
    # the columns as variables. The tree holds only the nodes above: there is nothing to reach.
    function = ast.parse("lambda row: 0", mode="eval")
    function.body.body = _Columns().visit(tree).body  # type: ignore[attr-defined]
    code = compile(ast.fix_missing_locations(function), "<expression>", "eval")
    made: Expression = eval(code, {"__builtins__": {}, **_FUNCTIONS})  # noqa: S307
    return made


class _Columns(ast.NodeTransformer):
    """Turns each name of a column into its look-up in the row."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """A function's name stays one."""
        node.args = [self.visit(argument) for argument in node.args]
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """A column."""
        if node.id == "row":
            return node
        return ast.Subscript(ast.Name("row", ast.Load()), ast.Constant(node.id), ast.Load())


def check(source: Any) -> str:
    """Says what is allowed where a value is no expression, as `slipway.schema` wants it."""
    if not isinstance(source, str):
        return "an expression over columns"
    try:
        compile_expression(source)
    except ValueError as error:
        return f"an expression over columns ({error})"
    return ""


def _check(node: ast.AST) -> None:
    if not isinstance(node, _NODES):
        raise ValueError(f"{type(node).__name__} is not allowed")
    if isinstance(node, ast.Call) and not (
        isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS and not node.keywords
    ):
        raise ValueError(f"only {', '.join(_FUNCTIONS)} can be called")
    if isinstance(node, ast.Subscript) and not (
        isinstance(node.value, ast.Name)
        and node.value.id == "row"
        and isinstance(node.slice, ast.Constant)
    ):
        raise ValueError('only row["column"] can be indexed')
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult) and _holds_text(node):
        raise ValueError("texts cannot be multiplied")


def _holds_text(node: ast.BinOp) -> bool:
    return any(
        isinstance(side, (ast.Tuple, ast.List))
        or (isinstance(side, ast.Constant) and isinstance(side.value, str))
        for side in (node.left, node.right)
    )
