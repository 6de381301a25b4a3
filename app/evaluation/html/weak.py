"""Where the model is weak: classes, pairs of classes, properties of photos, changes on their way."""

from app.evaluation.html.markup import Figure, Markup, table, tag
from app.evaluation.html.parts import (
    Report,
    class_name,
    count,
    interval,
    paragraph,
    percent,
    section,
)
from app.evaluation.html.plots import Matplotlib, Point, intervals
from app.evaluation.segments import describe

_RIGHT = "share of right answers, 95 % interval; dashed: all photos"


def classes(report: Report, library: Matplotlib) -> Markup:
    """Return the classes that are worst answered, and what is taken for what."""
    worst, pairs = report["worst_classes"], report["confused_pairs"]
    points = [Point(one["label"], one["top1"], one["low"], one["high"]) for one in worst]
    title = (
        f"Top-1 of the {len(worst)} worst classes with intervals, from {100 * worst[0]['top1']:.1f} %"
        f" to {100 * worst[-1]['top1']:.1f} %; all photos: {100 * report['top1']:.1f} %. The table has the figures."
    )
    rows = [
        [class_name(one), percent(one["top1"]), interval(one), count(one["n"])] for one in worst
    ]
    heads = ("class", Figure("top-1"), Figure("95 % interval"), Figure("n"))
    pair_rows = [
        [class_name(one["label"]), class_name(one["answer"]), count(one["count"]), percent(one["share"])]
        for one in pairs
    ]  # fmt: skip
    pair_heads = ("labelled", "answered", Figure("photos"), Figure("of the class"))
    confused = table("Most frequent confusions", pair_heads, pair_rows)
    return section(
        "classes",
        "Worst classes and confused pairs",
        tag("figure", intervals(library, "classes", title, points, report["top1"], _RIGHT)),
        table("Worst classes", heads, rows),
        confused if pairs else paragraph("No photo got a wrong answer."),
        _kinds(report["errors"]),
    )


def _kinds(errors: Report) -> Markup:
    """Say how many errors are the wrong breed, and how many the wrong thing."""
    same = errors["same_parent"]
    if same is None:
        return Markup("")
    return paragraph(
        f"Of {same['n']:,} errors between classes that WordNet has, ",
        tag("strong", percent(same["value"])),
        f" ({interval(same)}) are answers of a class with the same WordNet parent, as one breed of terrier"
        " and another; the others are of another kind of thing.",
    )


def segments(report: Report, library: Matplotlib) -> Markup:
    """Return for which photos, by their properties, the model is weak."""
    found = report["segments"]
    thirds = [
        (describe([{"property": name} | one]), one)
        for name, part in found["properties"].items()
        for one in part["segments"]
    ]
    parts: list[object] = [_weak(found)]
    if thirds:
        points = [Point(n, one["top1"], one["low"], one["high"], one["weak"]) for n, one in thirds]
        weak = [name for name, one in thirds if one["weak"]]
        title = (
            "Top-1 of thirds of the photos by each property, with intervals. "
            + (f"Weak: {'; '.join(weak)}." if weak else "None is weak.")
            + " The table has the figures."
        )
        rows = [
            [name, percent(one["top1"]), interval(one), count(one["n"]), "weak" if one["weak"] else ""]
            for name, one in thirds
        ]  # fmt: skip
        heads = ("photos with", Figure("top-1"), Figure("95 % interval"), Figure("n"), "finding")
        axis = "share of right answers; dashed: all photos"
        plot = intervals(library, "segments", title, points, report["top1"], axis)
        parts += [tag("figure", plot), table("Thirds by property", heads, rows)]
    same = [
        name.replace("_", " ") for name, part in found["properties"].items() if not part["segments"]
    ]
    if same:
        parts.append(
            paragraph(f"The same for all photos, or unknown: {', '.join(same)}.", kind="quiet")
        )
    meanings = [
        f"{name.replace('_', ' ')}: {part['meaning']}" for name, part in found["properties"].items()
    ]
    parts.append(paragraph("; ".join(meanings) + ".", kind="quiet"))
    return section("segments", "Weak segments", *parts)


def _weak(found: Report) -> Markup:
    tried = (
        f"{found['tried']:,} segments of one or two properties with at least"
        f" {100 * found['least_share']:.0f} % of the photos were tried."
    )
    if not found["weak"]:
        return paragraph(f"{tried} None is weak beyond chance.")
    rows = [
        [one["text"], percent(one["top1"]), interval(one), count(one["n"]), percent(one["share"])]
        for one in found["weak"]
    ]
    heads = ("photos with", Figure("top-1"), Figure("interval"), Figure("n"), Figure("of all"))
    said = f"{tried} The intervals allow for so many (Bonferroni)."
    return tag("div", table("Weak segments", heads, rows), paragraph(said, kind="quiet"))


def stress(report: Report, library: Matplotlib) -> Markup:
    """Return how many answers change where photos change a little."""
    found = report["stress"]
    if found is None:
        return section(
            "stress", "Flip rates", paragraph("Not measured: the option --stress does it.")
        )
    changes = found["changes"]
    points = [
        Point(
            one["title"],
            one["flip_rate"]["value"],
            one["flip_rate"]["low"],
            one["flip_rate"]["high"],
        )
        for one in changes
    ]
    worst = max(changes, key=lambda one: one["flip_rate"]["value"])
    title = (
        "Share of first answers that change, for each change of the photo, with intervals. Most"
        f" change with {worst['title']}: {100 * worst['flip_rate']['value']:.1f} %. The table has the figures."
    )
    rows = [
        [
            one["title"], percent(one["flip_rate"]["value"]), interval(one["flip_rate"]),
            percent(one["top1"]["value"]), interval(one["top1"]), count(one["flip_rate"]["n"]),
        ]
        for one in changes
    ]  # fmt: skip
    heads = (
        "change", Figure("answers changed"), Figure("95 % interval"), Figure("top-1"),
        Figure("95 % interval"), Figure("n"),
    )  # fmt: skip
    said = (
        f"{found['n']:,} of {found['of']:,} photos, drawn with seed {found['seed']}, were changed at the"
        f" scale that the model sees; pixels are those of a crop of 224. Unchanged, {100 * found['top1']:.2f} % of them are answered right."
    )
    axis = "share of first answers that change, 95 % interval"
    return section(
        "stress",
        "Flip rates",
        paragraph(said),
        tag("figure", intervals(library, "stress", title, points, None, axis)),
        table("What changes on a photo's way, and how many first answers with it", heads, rows),
    )
