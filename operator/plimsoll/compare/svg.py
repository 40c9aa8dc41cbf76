"""A chart as an inline SVG: colours and type come from the page's style sheet."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Final

from plimsoll.compare.charts import Chart

WIDTH: Final = 340
_NAME: Final = 104
"""Width of the names of the ways."""
_LABEL: Final = 92
"""Width kept for the figures behind the bars."""
_ROW: Final = 26
_BAR: Final = 14
_LENGTH: Final = WIDTH - _NAME - _LABEL
_PARTS: Final = ("full", "half", "pale")


def svg(chart: Chart, identity: str) -> str:
    """One chart; ``identity`` tells its title and description from those of other charts."""
    height = _ROW * len(chart.bars) + 4
    scale = _LENGTH / chart.largest if chart.largest else 0.0
    body = "".join(_rows(chart, scale))
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-labelledby="{identity}-title {identity}-desc">'
        f'<title id="{identity}-title">{escape(chart.title)}: {escape(chart.subtitle)}</title>'
        f'<desc id="{identity}-desc">{escape(chart.description)}</desc>'
        f'<line class="axis" x1="{_NAME}" y1="0" x2="{_NAME}" y2="{height}"/>'
        f"{body}</svg>"
    )


def _rows(chart: Chart, scale: float) -> Iterator[str]:
    for number, bar in enumerate(chart.bars):
        top = number * _ROW + 2
        middle = top + _ROW / 2
        position = float(_NAME)
        yield f'<g class="{bar.way.value}">'
        yield _text(_NAME - 8, middle, bar.name, "name")
        for part, look in zip(bar.parts, _PARTS, strict=False):
            length = part * scale
            if length > 0:
                yield _rect(position, middle - _BAR / 2, max(length, 0.75), look)
                position += length
        end = position
        if bar.mark is not None:
            at = _NAME + bar.mark * scale
            yield (
                f'<line class="mark" x1="{_n(at)}" y1="{_n(middle - _BAR / 2 - 3)}" '
                f'x2="{_n(at)}" y2="{_n(middle + _BAR / 2 + 3)}"/>'
            )
            end = max(end, at)
        yield _text(end + 6, middle, bar.label, "label")
        yield "</g>"


def _rect(x: float, y: float, width: float, look: str) -> str:
    return f'<rect class="{look}" x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_BAR}"/>'


def _text(x: float, y: float, text: str, look: str) -> str:
    return f'<text class="{look}" x="{_n(x)}" y="{_n(y + 4)}">{escape(text)}</text>'


def _n(value: float) -> str:
    """A coordinate, short and equal on every machine."""
    return f"{value:.1f}".removesuffix(".0")
