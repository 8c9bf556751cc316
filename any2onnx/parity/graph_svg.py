"""The ONNX graph as inline SVG, each node coloured by the error of what it makes."""

from __future__ import annotations

import dataclasses
import html
import itertools
import math
from typing import TYPE_CHECKING

from any2onnx.parity.layout import lay_out

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from any2onnx.parity.picture import GraphNode, GraphPicture
    from any2onnx.parity.report import ParityReport

MOST_BOXES = 300
"""With more nodes than this the picture shows source steps, or runs of nodes, instead."""
LEVELS = (1e-7, 1e-6, 1e-5, 1e-4, 1e-2)
"""Relative errors at which the colour of a node changes."""

_BOX = (164.0, 40.0)
_MARGIN = 8.0
_TEXT = 25


@dataclasses.dataclass(frozen=True)
class Box:
    """One box of the picture: a node, several of one source step, an input or an output.

    Attributes:
        title: First line.
        subtitle: Second line.
        reads: Values that it reads.
        makes: Values that it makes.
        kind: ``node``, ``group``, ``input`` or ``output``.
        hint: What the box says when pointed at.
    """

    title: str
    subtitle: str
    reads: tuple[str, ...]
    makes: tuple[str, ...]
    kind: str = "node"
    hint: str = ""


def graph_svg(report: ParityReport) -> str:
    """Return the picture, or an empty string where the report has no graph."""
    if report.graph is None or not report.graph.nodes:
        return ""
    boxes = boxes_of(report.graph)
    maker = {value: index for index, box in enumerate(boxes) for value in box.makes}
    edges = sorted(
        {(maker[value], index) for index, box in enumerate(boxes) for value in box.reads if value in maker}
        - {(index, index) for index in range(len(boxes))}
    )
    layout = lay_out(len(boxes), edges, size=_BOX)
    levels = box_levels(report, boxes)
    culprits = {divergence.value for divergence in report.divergences if divergence.value}
    width, height = layout.width + 2 * _MARGIN, layout.height + 2 * _MARGIN
    extent = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}"'
    parts = [f'<svg class="graph" role="img" aria-label="ONNX graph coloured by error" {extent}>']
    parts += [f'<path class="edge" d="{_curve(points)}"/>' for points in layout.edges]
    for box, centre, level in zip(boxes, layout.centres, levels, strict=True):
        parts.append(_box_svg(box, centre, level, culprit=bool(culprits & set(box.makes))))
    return "".join([*parts, "</svg>"])


def boxes_of(picture: GraphPicture) -> list[Box]:
    """Return inputs, nodes and outputs as boxes; nodes of one source step in one box where there are too many."""
    groups: list[list[GraphNode]] = [[node] for node in picture.nodes]
    depth = 8
    while len(groups) > MOST_BOXES and depth:
        depth -= 1
        groups = _grouped(picture.nodes, depth) if any(node.source for node in picture.nodes) else []
    if not groups or len(groups) > MOST_BOXES:
        size = math.ceil(len(picture.nodes) / MOST_BOXES)
        groups = [list(picture.nodes[i : i + size]) for i in range(0, len(picture.nodes), size)]
    boxes = [Box(name, "input", (), (name,), "input", f"input {name}") for name in picture.inputs]
    boxes += [_node_box(group[0]) if len(group) == 1 else _group_box(group) for group in groups]
    # An output is a box of its own: it may be read by other nodes as well.
    boxes += [
        Box(name, "output", (name,), (f"{name} (output)",), "output", f"output {name}") for name in picture.outputs
    ]
    return boxes


def _grouped(nodes: Sequence[GraphNode], depth: int) -> list[list[GraphNode]]:
    """Group consecutive nodes whose source path agrees in its first parts; 0 groups by consecutive source alone."""
    groups: list[list[GraphNode]] = []
    last: tuple[str, ...] | None = None
    for node in nodes:
        path = node.source.split(" (")[0].split(" ←")[0].replace(".", "/").split("/")
        key = tuple(path[: depth + 1])
        if groups and key == last:
            groups[-1].append(node)
        else:
            groups.append([node])
        last = key
    return groups


def _node_box(node: GraphNode) -> Box:
    hint = [f"{node.operator} {node.name}".strip(), f"makes {', '.join(node.outputs)}"]
    if node.source:
        hint.append(f"from {node.source}")
    if node.weights:
        hint.append(f"{node.weights} constant input(s)")
    return Box(node.operator, node.source or node.name, node.inputs, node.outputs, "node", "\n".join(hint))


def _group_box(group: Sequence[GraphNode]) -> Box:
    made = {value for node in group for value in node.outputs}
    reads = tuple(dict.fromkeys(value for node in group for value in node.inputs if value not in made))
    sources = list(dict.fromkeys(node.source for node in group if node.source))
    names = list(dict.fromkeys(node.operator for node in group))
    title = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    hint = f"{len(group)} nodes: {', '.join(names)}" + "".join(f"\nfrom {source}" for source in sources[:8])
    subtitle = f"{len(group)} nodes · {sources[0]}" if sources else f"{len(group)} nodes"
    return Box(title, subtitle, reads, tuple(v for node in group for v in node.outputs), "group", hint)


def value_errors(report: ParityReport) -> Mapping[str, float]:
    """Return the relative error of each value that is known: intermediate ones from localisation, and outputs."""
    known: dict[str, float] = {}
    for divergence in report.divergences:
        for step in divergence.steps:
            if step.error is not None:
                known[step.value] = max(known.get(step.value, 0.0), step.error)
    for summary in report:
        if summary.detail.elements and any(result.verdict is not None for result in summary.results):
            error = summary.rel if summary.detail.ulp else (math.inf if summary.budget_used > 1 else 0.0)
            known.setdefault(summary.name, error if math.isfinite(summary.budget_used) else math.inf)
    return known


def box_levels(report: ParityReport, boxes: Sequence[Box]) -> list[int | None]:
    """Return the colour of each box: a position among the ``LEVELS``, None where no error is known."""
    errors = value_errors(report)
    found: list[int | None] = []
    for box in boxes:
        known = [
            errors[value] for value in (*box.makes, *(box.reads if box.kind == "output" else ())) if value in errors
        ]
        if box.kind == "input" or not known:
            found.append(None)
        else:
            found.append(sum(max(known) > level for level in LEVELS))
    return found


def _box_svg(box: Box, centre: tuple[float, float], level: int | None, *, culprit: bool) -> str:
    left, top = centre[0] - _BOX[0] / 2 + _MARGIN, centre[1] - _BOX[1] / 2 + _MARGIN
    classes = f"box {box.kind} {'e-none' if level is None else f'e{level}'}{' culprit' if culprit else ''}"
    round_ = 20 if box.kind in ("input", "output") else 6
    hint = box.hint + ("\nthe first divergence" if culprit else "")
    texts = [(_short(box.title), 17, "t1"), (_tail(box.subtitle), 31, "t2")]
    lines = "".join(
        f'<text class="{name}" x="{_BOX[0] / 2:.0f}" y="{y}">{html.escape(text)}</text>' for text, y, name in texts
    )
    return (
        f'<g class="{classes}" transform="translate({left:.1f} {top:.1f})"><title>{html.escape(hint)}</title>'
        f'<rect width="{_BOX[0]:.0f}" height="{_BOX[1]:.0f}" rx="{round_}"/>{lines}</g>'
    )


def _short(text: str) -> str:
    return text if len(text) <= _TEXT else f"{text[: _TEXT - 1]}…"


def _tail(source: str) -> str:
    """Return the end of a source path, which tells steps apart; its class and line are in the hint."""
    path = source.partition(" (")[0].partition(" ←")[0]
    return path if len(path) <= _TEXT else f"…{path[1 - _TEXT :]}"


def _curve(points: Sequence[tuple[float, float]]) -> str:
    """Return the path through the points; it leaves and enters boxes vertically."""
    moved = [(x + _MARGIN, y + _MARGIN) for x, y in points]
    half = _BOX[1] / 2
    down = moved[-1][1] >= moved[0][1]
    ends = {0: half if down else -half, len(moved) - 1: -half if down else half}
    moved = [(x, y + ends.get(k, 0.0)) for k, (x, y) in enumerate(moved)]
    path = f"M{moved[0][0]:.1f} {moved[0][1]:.1f}"
    for (x0, y0), (x1, y1) in itertools.pairwise(moved):
        middle = (y0 + y1) / 2
        path += f"C{x0:.1f} {middle:.1f} {x1:.1f} {middle:.1f} {x1:.1f} {y1:.1f}"
    return path
