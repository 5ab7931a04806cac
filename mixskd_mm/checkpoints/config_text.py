"""Read a config that a checkpoint carries as Python text, without executing it."""

from __future__ import annotations

import ast

from mixskd_mm.errors import InputError


def literal_config(text: str) -> dict:
    """The assignments of ``text`` whose values are literals, ``dict(...)`` calls included.

    mmengine stores the config of a run in this form. Assignments of anything else are left out, and nothing is executed.

    Raises:
        InputError: if ``text`` is no Python.
    """
    try:
        statements = ast.parse(text).body
    except (SyntaxError, ValueError) as error:
        raise InputError(f'the config in the checkpoint cannot be read ({error})') from error
    config = {}
    for statement in statements:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            try:
                config[statement.targets[0].id] = _literal(statement.value)
            except ValueError:
                continue
    return config


def _literal(node: ast.expr):
    """Value of a literal expression. Raises ValueError if it is none."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict' and not node.args:
        return {keyword.arg: _literal(keyword.value) for keyword in node.keywords if keyword.arg is not None}
    if isinstance(node, ast.Dict):
        return {_literal(k): _literal(v) for k, v in zip(node.keys, node.values, strict=True) if k is not None}
    if isinstance(node, ast.List):
        return [_literal(item) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_literal(item) for item in node.elts)
    return ast.literal_eval(node)
