"""Histograms of a report as inline SVG."""

from __future__ import annotations

import dataclasses
import html
from typing import TYPE_CHECKING

from any2onnx.parity.details import ulp_range, used_range
from any2onnx.parity.render import compact
from any2onnx.parity.ulp import INCOMPARABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from any2onnx.parity.details import Counts, Detail

_WIDTH = 360
_ROW = 22
_LABEL = 112
_NUMBER = 92
_BAR = _WIDTH - _LABEL - _NUMBER


@dataclasses.dataclass(frozen=True)
class Bar:
    """One bar: label, members, and whether they are good, tolerable or bad."""

    label: str
    members: int
    tone: str


def ulp_bars(counts: Counts) -> list[Bar]:
    """Return elements by ULP distance, a bar for each power of two; the empty ones in between are kept."""
    bars: dict[int, int] = {}
    for number, members in counts:
        low, _ = ulp_range(number)
        key = 65 if low == INCOMPARABLE else low.bit_length()
        bars[key] = bars.get(key, 0) + members
    finite = [key for key in bars if key < 65]
    keys = list(range(max(finite) + 1)) if finite else []
    if len(keys) > 16:
        # A long empty stretch says nothing: keep the bars that have members.
        keys = [key for key in keys if bars.get(key)]
    found = [Bar(_ulp_label(key), bars.get(key, 0), "good" if key <= 2 else "fair") for key in keys]
    if 65 in bars:
        found.append(Bar("NaN or infinity", bars[65], "bad"))
    return found


def _ulp_label(bits: int) -> str:
    low, high = (1 << (bits - 1) if bits else 0), (1 << bits) - 1
    if low == high:
        return f"{low} ulp" if low == 0 else str(low)
    return f"{compact(low)} – {compact(high)}"


_USED_EDGES = (
    (0.0, "no error"),
    (0.001, "below 0.1 %"),
    (0.01, "0.1 – 1 %"),
    (0.1, "1 – 10 %"),
    (0.5, "10 – 50 %"),
    (1.0, "50 – 100 %"),
    (float("inf"), "over budget"),
)


def used_bars(counts: Counts) -> list[Bar]:
    """Return rows by error / budget; a quarter-octave bin goes where its upper edge lies."""
    bars = [0] * len(_USED_EDGES)
    for number, members in counts:
        low, high = used_range(number)
        # The bin that ends at 1 (exactly the budget) still passes; every other bin is placed by its middle.
        middle = (low + high) / 2
        bars[next(k for k, (edge, _) in enumerate(_USED_EDGES) if middle <= edge)] += members
    filled = [k for k, members in enumerate(bars) if members]
    tones = ["good"] * 5 + ["fair", "bad"]
    return [Bar(_USED_EDGES[k][1], bars[k], tones[k]) for k in range(max(filled, default=-1) + 1)]


def bars_svg(bars: Sequence[Bar], title: str) -> str:
    """Return horizontal bars with label, share and number; small but not empty bars stay visible."""
    total = sum(bar.members for bar in bars)
    if not total:
        return ""
    height = _ROW * len(bars) + 2
    size = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    parts = [f'<svg class="bars" role="img" aria-label="{html.escape(title)}" {size}>']
    for index, bar in enumerate(bars):
        y = index * _ROW
        share = bar.members / total
        length = max(share * _BAR, 2.0) if bar.members else 0.0
        middle = y + _ROW / 2 + 4
        parts.append(f'<text class="label" x="{_LABEL - 8}" y="{middle:.0f}">{html.escape(bar.label)}</text>')
        parts.append(f'<rect class="track" x="{_LABEL}" y="{y + 4}" width="{_BAR}" height="{_ROW - 8}" rx="3"/>')
        if bar.members:
            parts.append(
                f'<rect class="{bar.tone}" x="{_LABEL}" y="{y + 4}" width="{length:.1f}" height="{_ROW - 8}" rx="3"/>'
            )
        number = f"{bar.members:,} · {percent(share)}" if bar.members else "–"
        parts.append(f'<text class="number" x="{_LABEL + _BAR + 8}" y="{middle:.0f}">{number}</text>')
    return "".join([*parts, "</svg>"])


def percent(share: float) -> str:
    """Return a share for people; what is not all is never called 100 %, and what is not none never 0 %."""
    if share in (0.0, 1.0):
        return f"{share:.0%}".replace("%", " %")
    if share < 0.001:
        return "< 0.1 %"
    if share > 0.999:
        return "> 99.9 %"
    return f"{100 * share:.1f} %" if share < 0.1 or share > 0.9 else f"{100 * share:.0f} %"


def detail_charts(detail: Detail) -> list[tuple[str, str]]:
    """Return the charts of an output: caption and SVG; none for labels."""
    found = []
    for title, bars in (
        ("Elements by distance to the reference, in ulp", ulp_bars(detail.ulp)),
        ("Rows by share of their error budget", used_bars(detail.used)),
    ):
        svg = bars_svg(bars, title)
        if svg:
            found.append((title, svg))
    return found
