"""What a device could do, for people."""

from collections.abc import Callable

from rich.console import Group, RenderableType
from rich.table import Table

from app.bench.card import LARGEST, SAME_FIVE, Card
from app.bench.raw import RawSummary

_TERA = 1e12
_GIGA = 1e9


def card_table(card: Card, raw: RawSummary) -> RenderableType:
    """Lay out a device: agreement, peaks, and a column for each batch size."""
    parts: list[RenderableType] = [f"\n[bold]the device[/]: {raw.device}"]
    if card.agreement is not None:
        found = card.agreement
        verdict = "[green]within the bounds[/]" if found.holds else "[red]outside the bounds[/]"
        parts.append(
            f"float16 against float32 on {found.pictures} pictures: largest difference of a"
            f" probability {found.largest:.1e} (bound {LARGEST:g}), same first"
            f" {found.same_first:.1%}, same five {found.same_five:.1%} (bound {SAME_FIVE:.0%}):"
            f" {verdict}"
        )
    peaks = card.peaks
    parts.append(
        f"measured in {peaks.precision}: {peaks.operations / _TERA:,.2f} TFLOP/s in a product of"
        f" matrices, {peaks.bandwidth / _GIGA:,.0f} GB/s"
    )
    if card.limit:
        parts.append(_rows(card, raw))
    if card.without_torch:
        parts.append(f"[dim]beside PyTorch: not measured, {card.without_torch}[/]")
    return Group(*parts)


def _rows(card: Card, raw: RawSummary) -> Table:
    table = Table(box=None, header_style="bold")
    table.add_column("batch size")
    rates = raw.images_per_second
    for size in rates:
        table.add_column(size, justify="right")

    def row(name: str, cell: Callable[[str], str]) -> None:
        table.add_row(name, *(cell(size) for size in rates))

    row("ms a batch", lambda size: f"{1000 * int(size) / rates[size]:,.2f}")
    row("images/s", lambda size: f"{rates[size]:,.1f}")
    row("  limit of the device", lambda size: f"{card.limit[size]:,.1f}")
    row("  of that limit", lambda size: f"{rates[size] / card.limit[size]:.0%}")
    row("  of the matrix rate", lambda size: f"{_share(card, rates[size]):.0%}")
    if card.torch:
        row("images/s of torch.compile", lambda size: f"{card.torch[size]:,.1f}")
        row("  of that", lambda size: f"{rates[size] / card.torch[size]:.2f}")
    return table


def _share(card: Card, rate: float) -> float:
    return rate * card.network / card.peaks.operations
