"""A sweep as a picture: throughput, latency and batch size against load, as SVG."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from app.bench.axes import Scale, load_scale, tick_label, value_scale
from app.bench.report import Point, Report

_WIDTH: Final = 760
_LEFT: Final = 78
_RIGHT: Final = 24
_TOP: Final = 78
_PANEL: Final = 190
_GAP: Final = 62
_BOTTOM: Final = 56

_STYLE: Final = """
  svg { --ground: #ffffff; --ink: #1f2328; --soft: #59636e; --grid: #dde2e7;
        --first: #0550ae; --second: #bc4c00; --third: #6e7781; }
  @media (prefers-color-scheme: dark) {
    svg { --ground: #0d1117; --ink: #e6edf3; --soft: #9198a1; --grid: #2a313a;
          --first: #58a6ff; --second: #f0883e; --third: #8b949e; }
  }
  text { font: 12px system-ui, "Liberation Sans", Arial, sans-serif; fill: var(--soft); }
  .title { font-size: 17px; font-weight: 600; fill: var(--ink); }
  .name { font-size: 13px; font-weight: 600; fill: var(--ink); }
  .ground { fill: var(--ground); }
  .grid { stroke: var(--grid); }
  .axis { stroke: var(--soft); }
  .line { fill: none; stroke-width: 2; stroke-linejoin: round; }
  .first { stroke: var(--first); --mark: var(--first); }
  .second { stroke: var(--second); --mark: var(--second); }
  .third { stroke: var(--third); --mark: var(--third); stroke-dasharray: 6 4; }
  circle { fill: var(--mark); stroke: var(--ground); }
"""


@dataclass(frozen=True, slots=True)
class _Line:
    """One series: load, value, and lowest and highest of the repeats if they are known."""

    name: str
    style: str
    points: Sequence[tuple[float, float]]
    spread: Sequence[tuple[float, float, float]] = ()
    marks: bool = True


@dataclass(frozen=True, slots=True)
class _Panel:
    title: str
    lines: Sequence[_Line]

    def values(self) -> list[float]:
        return [y for line in self.lines for _, y in line.points] + [
            high for line in self.lines for _, _, high in line.spread
        ]


def plot_svg(report: Report) -> str:
    """Draw the points of a report, which has one at least; all of them closed or all open."""
    points = sorted(report.points, key=lambda point: point.value)
    closed = points[0].kind == "closed"
    across = load_scale([point.value for point in points], doubling=closed)
    panels = [panel for panel in _panels(points, report) if any(x.points for x in panel.lines)]
    height = _TOP + len(panels) * (_PANEL + _GAP) - _GAP + _BOTTOM
    label = "connections, each with one request at a time (closed loop)"
    if not closed:
        label = "offered load: requests per second (open loop, Poisson arrivals)"
    size = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {size}>',
        f"<title>{escape(_title(report))}</title><style>{_STYLE}</style>",
        f'<rect class="ground" width="{_WIDTH}" height="{height}"/>',
        _text(_LEFT, 30, _title(report), "title", "start"),
        _text(_LEFT, 50, _subtitle(report), "", "start"),
    ]
    for index, panel in enumerate(panels):
        parts += _draw(panel, across, _TOP + 8 + index * (_PANEL + _GAP))
    parts += [_text((_LEFT + _WIDTH - _RIGHT) / 2, height - 12, label, "", "middle"), "</svg>"]
    return "\n".join(parts) + "\n"


def _panels(points: Sequence[Point], report: Report) -> Iterator[_Panel]:
    spread = [(p.value, p.median.goodput_lowest, p.median.goodput_highest) for p in points]
    throughput = [_Line("200s", "first", [(p.value, p.median.goodput) for p in points], spread)]
    refusals = [(p.value, _refusals_per_second(p)) for p in points]
    if any(rate for _, rate in refusals):
        throughput.append(_Line("429s and 503s", "second", refusals))
    ends = [points[0].value, points[-1].value]
    if report.raw is not None and len(points) > 1:
        name = f"session.run alone, batches of {report.raw.best_size}"
        line = [(end, report.raw.best) for end in ends]
        throughput.append(_Line(name, "third", line, marks=False))
    yield _Panel("Answers per second", throughput)
    p50 = [(p.value, p.median.answered.p50) for p in points]
    p99 = [(p.value, p.median.answered.p99) for p in points]
    latency = [_Line("p99", "second", _known(p99)), _Line("p50", "first", _known(p50))]
    yield _Panel("Latency of 200s (milliseconds)", latency)
    batches = [(p.value, p.median.mean_batch_size) for p in points]
    yield _Panel("Batch size (images, mean over requests)", [_Line("", "first", _known(batches))])


def _draw(panel: _Panel, across: Scale, top: float) -> Iterator[str]:
    scale = value_scale(panel.values())
    bottom = top + _PANEL

    def x(load: float) -> float:
        return round(_LEFT + across.place(load) * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(value: float) -> float:
        return round(bottom - scale.place(value) * _PANEL, 1)

    yield _text(_LEFT, top - 12, panel.title, "name", "start")
    yield from _legend(panel.lines, top - 12)
    for tick in scale.ticks:
        yield _rule("grid", _LEFT, y(tick), _WIDTH - _RIGHT, y(tick))
        yield _text(_LEFT - 8, y(tick) + 4, tick_label(tick), "", "end")
    yield _rule("axis", _LEFT, bottom, _WIDTH - _RIGHT, bottom)
    for tick in across.ticks:
        yield _rule("axis", x(tick), bottom, x(tick), bottom + 4)
        yield _text(x(tick), bottom + 18, tick_label(tick), "", "middle")
    for line in panel.lines:
        path = " ".join(f"{x(load)},{y(value)}" for load, value in line.points)
        yield f'<polyline class="line {line.style}" points="{path}"/>'
        for load, low, high in line.spread:
            yield _rule(line.style, x(load), y(low), x(load), y(high))
        for load, value in line.points if line.marks else ():
            yield (
                f'<circle class="{line.style}" cx="{x(load)}" cy="{y(value)}" r="4">'
                f"<title>{tick_label(load)}: {value:,.1f}</title></circle>"
            )


def _legend(lines: Sequence[_Line], y: float) -> Iterator[str]:
    """Name the lines, from the right border to the left."""
    right = float(_WIDTH - _RIGHT)
    for line in reversed([line for line in lines if line.name]):
        left = right - 7.2 * len(line.name)
        yield _text(right, y, line.name, "", "end")
        yield f'<path class="line {line.style}" d="M{left - 30:.1f} {y - 4}h24"/>'
        right = left - 44


def _refusals_per_second(point: Point) -> float:
    summary = point.median
    return summary.refused.samples / summary.seconds if summary.seconds else 0.0


def _known(points: Sequence[tuple[float, float | None]]) -> list[tuple[float, float]]:
    return [(x, y) for x, y in points if y is not None]


def _title(report: Report) -> str:
    model = f" ({report.raw.model})" if report.raw else ""
    return f"{report.url}{model}"


def _subtitle(report: Report) -> str:
    repeats = max(len(point.runs) for point in report.points)
    seconds = report.settings["seconds"]
    cpus = report.machine["cpus_usable"]
    return (
        f"{report.machine['cpu']}, {cpus} processors; {seconds:g} s a run, median of"
        f" {repeats}; {report.made[:10]}"
    )


def _rule(style: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{style}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>'


def _text(x: float, y: float, text: str, style: str, anchor: str) -> str:
    named = f' class="{style}"' if style else ""
    return f'<text{named} x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>'
