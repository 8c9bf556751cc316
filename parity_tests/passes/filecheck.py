"""FileCheck for graphs: a stable one-line-per-node printer and a matcher for expected lines.

    check_graph(model, '''
      CHECK:      %h = MatMul(%x, @coef)      : float32[batch,3]
      CHECK-NEXT: %s = Add(%h, @intercept)
      CHECK-NOT:  Cast
    ''')

Printed: ``%name`` for a value, ``@name`` for an initializer, ``_`` for an input that is left out, attributes in braces
in the order of their names, then the type. Sub-graphs follow their node, indented. A pattern matches anywhere in a
line; white space is one blank; ``{{regex}}`` is a regular expression; ``[[NAME:regex]]`` remembers what it matched for
later ``[[NAME]]``.

* ``CHECK``: some line behind the last match.
* ``CHECK-NEXT``: the very next line.
* ``CHECK-NOT``: no line between the matches around it (or up to an end of the graph).
* ``CHECK-COUNT-n``: n lines in a row of matches, as n ``CHECK``.
* ``CHECK-TOTAL-n``: exactly n lines of the whole graph, wherever.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import onnx
import onnx_ir as ir

_DIRECTIVE = re.compile(r"^CHECK(?:-(NEXT|NOT|COUNT-(\d+)|TOTAL-(\d+)))?:(.*)$")
_PIECE = re.compile(r"\{\{(.*?)\}\}|\[\[(\w+)(?::(.*?))?\]\]")


class MismatchError(AssertionError):
    """The graph is not as expected; the message shows the pattern and the graph."""


# --- printing ----------------------------------------------------------------------------------------------------


def print_graph(model: ir.Model | onnx.ModelProto) -> list[str]:
    """Return the lines of ``model``: inputs, nodes in order, outputs, then its functions."""
    if isinstance(model, onnx.ModelProto):
        model = ir.from_proto(model)
    lines = list(_graph_lines(model.graph, ""))
    for identifier, function in model.functions.items():
        lines.append(f"function {'::'.join(part for part in identifier if part)}")
        lines.extend(_graph_lines(function.graph, "  "))
    return lines


def _graph_lines(graph: ir.Graph, indent: str) -> Iterator[str]:
    yield f"{indent}input " + ", ".join(_typed(value) for value in graph.inputs)
    for node in graph:
        yield from _node_lines(node, indent)
    yield f"{indent}output " + ", ".join(_typed(value) for value in graph.outputs)


def _typed(value: ir.Value) -> str:
    return f"{_reference(value)} : {_type(value)}"


def _node_lines(node: ir.Node, indent: str) -> Iterator[str]:
    results = ", ".join(f"%{value.name}" if value.name else "_" for value in node.outputs)
    operator = node.op_type if node.domain == "" else f"{node.domain}::{node.op_type}"
    arguments = ", ".join(_reference(value) for value in node.inputs)
    plain = [text for name, item in sorted(node.attributes.items()) if (text := _attribute(name, item)) is not None]
    braces = f" {{{', '.join(plain)}}}" if plain else ""
    types = ", ".join(_type(value) for value in node.outputs)
    yield f"{indent}{results} = {operator}({arguments}){braces} : {types}"
    for name, item in sorted(node.attributes.items()):
        if item.type == ir.AttributeType.GRAPH:
            yield f"{indent}  {name}:"
            yield from _graph_lines(item.as_graph(), indent + "    ")


def _reference(value: ir.Value | None) -> str:
    if value is None:
        return "_"
    return f"@{value.name}" if value.is_initializer() else f"%{value.name}"


def _attribute(name: str, attribute: ir.Attr) -> str | None:
    if attribute.is_ref():
        return f"{name}=${attribute.ref_attr_name}"
    if attribute.type == ir.AttributeType.GRAPH:
        return None
    if attribute.type == ir.AttributeType.TENSOR:
        tensor = attribute.as_tensor()
        content = tensor.numpy().reshape(-1)[:4].tolist() if tensor.size <= 4 else "..."
        return f"{name}={tensor.dtype.name.lower()}{list(tensor.shape)}{content}".replace(" ", "")
    value = attribute.value
    text = f"[{','.join(str(item) for item in value)}]" if isinstance(value, (tuple, list)) else str(value)
    return f"{name}={text}"


def _type(value: ir.Value) -> str:
    if value.dtype is None:
        return "?"
    name = value.dtype.numpy().name if value.dtype != ir.DataType.STRING else "string"
    if value.shape is None:
        return f"{name}[...]"
    return f"{name}[{','.join('?' if str(dim) == 'None' else str(dim) for dim in value.shape)}]"


# --- matching ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rule:
    kind: str
    count: int
    pattern: str


def parse(text: str) -> list[_Rule]:
    """Parse expected lines; a line that is no directive is an error, so that a typo cannot pass."""
    rules: list[_Rule] = []
    for line in text.splitlines():
        stripped = line.strip()
        if not stripped:
            continue
        found = _DIRECTIVE.match(stripped)
        if found is None or not found.group(4).strip():
            raise ValueError(f"not a CHECK line: {stripped!r}")
        kind = (found.group(1) or "CHECK").split("-")[0]
        count = int(found.group(2) or found.group(3) or 1)
        rules.append(_Rule(kind, count, _squeeze(found.group(4))))
    if not rules:
        raise ValueError("nothing is checked")
    return rules


def check_graph(model: ir.Model | onnx.ModelProto, text: str) -> None:
    """Check that the printed graph of ``model`` matches the CHECK lines in ``text``.

    Raises:
        MismatchError: It does not.
        ValueError: ``text`` has a line that is no CHECK line, or none at all.
    """
    check_lines(print_graph(model), text)


def check_lines(lines: list[str], text: str) -> None:
    """Check printed lines (see :func:`check_graph`)."""
    lines = [_squeeze(line) for line in lines]
    variables: dict[str, str] = {}
    position = 0
    forbidden: list[_Rule] = []
    for rule in parse(text):
        if rule.kind == "NOT":
            forbidden.append(rule)
        elif rule.kind == "TOTAL":
            total = sum(_search(rule.pattern, line, dict(variables)) for line in lines)
            if total != rule.count:
                raise _mismatch(f"{total} lines instead of {rule.count} match {rule.pattern!r}", lines, None)
        else:
            for _ in range(rule.count):
                found = _find(rule, lines, position, variables)
                _forbid(forbidden, lines, position, found, variables)
                forbidden = []
                position = found + 1
    _forbid(forbidden, lines, position, len(lines), variables)


def _find(rule: _Rule, lines: list[str], position: int, variables: dict[str, str]) -> int:
    last = position + 1 if rule.kind == "NEXT" else len(lines)
    for index in range(position, min(last, len(lines))):
        if _search(rule.pattern, lines[index], variables):
            return index
    where = "the next line does not match" if rule.kind == "NEXT" else "no further line matches"
    raise _mismatch(f"{where} {rule.pattern!r}", lines, position)


def _forbid(rules: list[_Rule], lines: list[str], start: int, end: int, variables: dict[str, str]) -> None:
    for rule in rules:
        for index in range(start, end):
            if _search(rule.pattern, lines[index], dict(variables)):
                raise _mismatch(f"a line matches {rule.pattern!r}, which must not be there", lines, index)


def _search(pattern: str, line: str, variables: dict[str, str]) -> bool:
    """Match one pattern; on success remember its variables."""
    expression, position, fresh = "", 0, []
    for piece in _PIECE.finditer(pattern):
        expression += re.escape(pattern[position : piece.start()])
        position = piece.end()
        regex, name, definition = piece.groups()
        if regex is not None:
            expression += f"(?:{regex})"
        elif definition is not None:
            expression += f"(?P<{name}>{definition})"
            fresh.append(name)
        elif name in fresh:
            expression += f"(?P={name})"
        elif name in variables:
            expression += re.escape(variables[name])
        else:
            raise ValueError(f"[[{name}]] is used before it is defined")
    expression += re.escape(pattern[position:])
    found = re.search(expression, line)
    if found is None:
        return False
    variables.update({name: found.group(name) for name in fresh})
    return True


def _squeeze(text: str) -> str:
    return " ".join(text.split())


def _mismatch(reason: str, lines: list[str], position: int | None) -> MismatchError:
    shown = [f"{'>' if index == position else ' '} {line}" for index, line in enumerate(lines)]
    return MismatchError("\n".join([reason, "the graph is:", *shown]))
