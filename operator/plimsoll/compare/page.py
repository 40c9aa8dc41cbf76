"""The comparison as one page of HTML that needs nothing besides itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from plimsoll.compare.answer import answer
from plimsoll.compare.charts import charts
from plimsoll.compare.comparison import Comparison
from plimsoll.compare.layout import TITLES
from plimsoll.compare.rows import headings, rows
from plimsoll.compare.svg import svg

_STYLE: Final = """
:root { color-scheme: light dark;
  --paper: #fdfdfb; --ink: #1c2127; --soft: #5c6670; --rule: #dfe2e4;
  --oneAppPerVM: #b4632a; --bareMetal: #67727e; --asIs: #6aa5c9; --plimsoll: #1f6f9f; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #15181c; --ink: #e6e9ec; --soft: #9aa4ae; --rule: #30363d;
  --oneAppPerVM: #d98a52; --bareMetal: #98a3ae; --asIs: #8fc3e3; --plimsoll: #3f9bd1; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1120px; padding: 2.5rem 1.5rem 4rem; background: var(--paper);
  color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .25rem; }
h2 { font-size: 1.15rem; margin: 2.75rem 0 .75rem; }
.source, figcaption span, .origin, .key { color: var(--soft); }
.source { margin: 0 0 1.5rem; }
.answer { max-width: 46rem; font-size: 1.06rem; margin: 0; }
.key { margin: 0 0 1rem; font-size: .9rem; max-width: 46rem; }
.charts { display: grid; gap: 1.75rem 2rem;
  grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); }
figure { margin: 0; break-inside: avoid; }
figcaption { font-weight: 600; line-height: 1.3; margin-bottom: .35rem; }
figcaption span { display: block; font-weight: 400; font-size: .82rem; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: var(--ink); }
svg .name { text-anchor: end; fill: var(--soft); }
svg .label { font-variant-numeric: tabular-nums; }
svg .axis { stroke: var(--rule); }
svg .mark { stroke: var(--ink); stroke-width: 1.5; }
svg .half { opacity: .5; } svg .pale { opacity: .2; }
svg .oneAppPerVM rect { fill: var(--oneAppPerVM); } svg .bareMetal rect { fill: var(--bareMetal); }
svg .asIs rect { fill: var(--asIs); } svg .plimsoll rect { fill: var(--plimsoll); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; }
th, td { padding: .28rem .9rem .28rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--rule); }
.figures td { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.figures thead th:not(:first-child) { text-align: right; }
th { font-weight: 400; } thead th, tbody.section th[scope=rowgroup] { font-weight: 600; }
th[scope=rowgroup] { padding-top: 1rem; }
code { font-size: .85em; white-space: nowrap; }
.notes { padding-left: 1.1rem; }
@media print { body { max-width: none; padding: 0; } }
"""
_KEY: Final = (
    "All bars start at zero; each chart has a scale of its own. Parts of a bar go from dark to "
    "pale in the order named. A container is a pod; a machine is what runs it: a VM, or on bare "
    "metal the host itself. Overhead is what operating systems, the container runtime and "
    "DaemonSets take."
)


def page(comparison: Comparison, source: str, notes: Sequence[str] = ()) -> str:
    """The whole page; ``source`` says what was compared, ``notes`` are those of the files."""
    return "\n".join(_lines(comparison, source, notes)) + "\n"


def _lines(comparison: Comparison, source: str, notes: Sequence[str]) -> Iterator[str]:
    yield '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>Containers, VMs or both: {escape(source)}</title>"
    yield f"<style>{_STYLE}</style>\n</head>\n<body>\n<main>"
    yield "<h1>Containers, VMs or both?</h1>"
    yield f'<p class="source">Worked out by <code>plimsoll compare</code> from {escape(source)}</p>'
    verdict, reasons = answer(comparison)
    yield f'<p class="answer"><strong>{escape(verdict)}</strong> {escape(reasons)}</p>'
    yield "<h2>Side by side</h2>"
    yield f'<p class="key">{escape(_KEY)}</p>\n<div class="charts">'
    for number, chart in enumerate(charts(comparison), start=1):
        yield (
            f"<figure><figcaption>{escape(chart.title)}<span>{escape(chart.subtitle)}</span>"
            f"</figcaption>{svg(chart, f'chart-{number}')}</figure>"
        )
    yield "</div>\n<h2>All figures</h2>"
    yield from _figures(comparison)
    yield "<h2>What is measured, given and assumed</h2>"
    yield from _facts(comparison)
    told = [*notes, *comparison.notes]
    if told:
        yield '<h2>Notes</h2>\n<ul class="notes">'
        yield from (f"<li>{escape(note)}</li>" for note in told)
        yield "</ul>"
    yield "</main>\n</body>\n</html>"


def _figures(comparison: Comparison) -> Iterator[str]:
    yield '<div class="scroll"><table class="figures">\n<thead><tr><td></td>'
    for way, heading in zip(comparison.figures, headings(comparison), strict=True):
        yield f'<th scope="col" title="{escape(TITLES[way])}">{escape(heading)}</th>'
    yield "</tr></thead>"
    section = ""
    for row in rows(comparison):
        if row.section != section:
            yield "</tbody>" if section else ""
            section = row.section
            columns = len(comparison.figures) + 1
            yield '<tbody class="section">'
            yield (f'<tr><th scope="rowgroup" colspan="{columns}">{escape(section)}</th></tr>')
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in row.cells)
        yield f'<tr><th scope="row">{escape(row.label)}</th>{cells}</tr>'
    yield "</tbody>\n</table></div>"


def _facts(comparison: Comparison) -> Iterator[str]:
    yield '<div class="scroll"><table>\n<thead><tr><th scope="col">What</th>'
    yield '<th scope="col">Taken as</th><th scope="col">From</th>'
    yield '<th scope="col">Changed by</th></tr></thead>\n<tbody>'
    for fact in comparison.facts:
        options = ", ".join(
            f"<code>{escape(option)}</code>" for option in fact.options.split(", ") if option
        )
        yield (
            f'<tr><th scope="row">{escape(fact.what)}</th><td>{escape(fact.value)}</td>'
            f'<td class="origin">{fact.origin.value}</td><td>{options}</td></tr>'
        )
    yield "</tbody>\n</table></div>"
