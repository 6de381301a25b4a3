"""The main figures of an evaluation, for a terminal."""

from collections.abc import Iterator
from typing import Any, Final

from rich.markup import escape

from app.texts import printable

_WORST: Final = 5


def lines(report: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of the summary, in rich's markup."""
    yield from _model(report)
    for name, title in (("top1", "top-1"), ("top5", "top-5")):
        figure = report["accuracy"][name]
        yield f"  {title}  {_percent(figure['value'])}, 95 % interval {_interval(figure)}{_published(figure)}"
    yield from _real(report)
    yield from _paper(report)
    figures = report["calibration"]
    interval = f"{figures['ece_low']:.4f} to {figures['ece_high']:.4f}"
    yield f"  ECE    {figures['ece']:.4f}, 95 % interval {interval}; NLL {figures['nll']:.4f}"
    if figures["temperature"]:
        found = figures["temperature"]
        yield (
            f"  A temperature of {found['value']:.3f} would make that ECE {found['ece']:.4f} and"
            f" NLL {found['nll']:.4f}. {found['sentence']}"
        )
    if report["baselines"]["sentence"]:
        yield f"[bold yellow]{report['baselines']['sentence']}[/]"
    yield from _faults(report)
    yield from _weak(report)
    if report["stress"]:
        changes = (
            f"{one['title']} {_percent(one['flip_rate']['value'])}"
            for one in report["stress"]["changes"]
        )
        yield f"  flip rates of {_photos(report['stress']['n'])}: {'; '.join(changes)}"
    if report["comparison"]:
        yield from _comparison(report["comparison"])
    for one in report["conditions"]:
        mark = "[green]met[/]" if one["met"] else "[bold red]not met[/]"
        yield f"--{one['name']} {one['limit']:g}: {mark}, {one['value']:.4f}"
    speed = report["speed"]
    if speed["seconds_per_thousand"] is not None:
        yield (
            f"[dim]{_photos(speed['photos'])} in {speed['seconds']:,.1f} s:"
            f" {speed['seconds_per_thousand']:,.2f} seconds per thousand photos[/]"
        )
    else:
        yield "[dim]All answers were known from an earlier run.[/]"


def _weak(report: dict[str, Any]) -> Iterator[str]:
    worst = [
        f"{_text(one['label'])} {_percent(one['top1'])} of {one['n']}"
        for one in report["worst_classes"][:_WORST]
    ]
    yield f"  worst classes: {'; '.join(worst)}"
    same = report["errors"]["same_parent"]
    if same:
        yield (
            f"  {_percent(same['value'])} of {same['n']:,} errors between classes that WordNet has are within"
            f" one parent, interval {_interval(same)}"
        )
    if report["segments"]["weak"]:
        weak = report["segments"]["weak"][0]
        yield (
            f"  weakest segment: {weak['text']}, {_percent(weak['top1'])} of {weak['n']:,}"
            f" photos, interval {_interval(weak)}"
        )


def _model(report: dict[str, Any]) -> Iterator[str]:
    """Yield who answered, and how."""
    made = report["model"]
    untrained = "" if made["trained"] else ", [bold yellow]UNTRAINED weights[/]"
    yield f"[bold]{escape(made['name'])}[/]{untrained}: {_photos(report['n'])}{_test(report['test'])}"
    if made.get("url"):
        yield (
            f"  answered by {_text(made['url'])}: vgg-serve {_text(made['server_version'])},"
            f" {_text(made['precision'])} on {_text(made['device'])}, weights"
            f" {_text(made['weights_sha256'])[:16]}"
        )
    if made["temperature"] != 1:
        yield f"  at the temperature {made['temperature']:g} of its manifest"


def _test(test: dict[str, Any]) -> str:
    if test["name"] == "single":
        return ""
    return f", {test['name']} at {', '.join(map(str, test['scales']))} pixels"


def _real(report: dict[str, Any]) -> Iterator[str]:
    real = report["real"]
    if real and real["n"]:
        yield (
            f"  with the labels of --real  top-1 {_percent(real['top1']['value'])}, interval"
            f" {_interval(real['top1'])}; top-5 {_percent(real['top5']['value'])};"
            f" {_photos(real['left_out'])} without a label"
        )


def _paper(report: dict[str, Any]) -> Iterator[str]:
    """Yield the paper's own figures, for the weights for which they hold."""
    paper = report["paper"]
    for row in paper["rows"]:
        name = _test({"name": row["test"], "scales": row["scales"]}).removeprefix(", ")
        line = f"  the paper, {name}: top-1 {_percent(row['top1'])}, top-5 {_percent(row['top5'])}"
        yield f"[bold]{line}; this test[/]" if row["same"] else f"[dim]{line}[/]"
    if paper["note"] and report["test"]["name"] != "single":
        yield f"[dim]  {paper['note']}[/]"


def _faults(report: dict[str, Any]) -> Iterator[str]:
    if report["damaged"]:
        first = report["damaged"][0]
        yield (
            f"[yellow]{len(report['damaged']):,} photos could not be classified and are not"
            f" counted: {_text(first['name'])}: {_text(first['why'])}[/]"
        )
    alike = report["duplicates"]
    if alike["groups"]:
        yield (
            f"[yellow]{alike['files_too_many']:,} files are copies of others;"
            f" {alike['with_different_labels']:,} of {alike['groups']:,} groups have different labels[/]"
        )


def _comparison(found: dict[str, Any]) -> Iterator[str]:
    difference, test = found["difference"], found["mcnemar"]
    low, high = 100 * difference["low"], 100 * difference["high"]
    yield (
        f"[bold]{escape(found['second_model']['name'])}[/] ({escape(found['with'])}): top-1"
        f" {_percent(found['second']['top1'])}, against {_percent(found['first']['top1'])} on the same"
        f" {_photos(found['n'])}; difference {100 * difference['top1']:+.2f} points,"
        f" 95 % interval {low:+.2f} to {high:+.2f}"
    )
    changed = found["changed"]["count"]
    yield (
        f"  McNemar p = {test['p_exact']:.3g}: {_photos(test['only_first_right'])} only the first"
        f" side got right, {test['only_second_right']:,} only the second;"
        f" {changed:,} {'answer' if changed == 1 else 'answers'} changed"
    )


def _published(figure: dict[str, Any]) -> str:
    if figure["published"] is None:
        return ""
    where = "inside" if figure["published_inside"] else "[yellow]outside[/]"
    return f"; the manifest's {_percent(figure['published'])} lies {where}"


def _photos(number: int) -> str:
    return f"{number:,} {'photo' if number == 1 else 'photos'}"


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %"


def _interval(figure: dict[str, Any]) -> str:
    return f"{100 * figure['low']:.2f} to {100 * figure['high']:.2f}"


def _text(text: object) -> str:
    return escape(printable(str(text)))
