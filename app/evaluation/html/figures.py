"""The main figures, what may be wrong as a whole, conditions, and calibration."""

from collections.abc import Iterator

from app.evaluation.html.markup import Figure, Markup, markup, table, tag
from app.evaluation.html.parts import (
    Report,
    class_name,
    count,
    counted,
    interval,
    number,
    paragraph,
    percent,
    section,
    test_name,
)
from app.evaluation.html.plots import Matplotlib, reliability


def summary(report: Report) -> Markup:
    """Return the main figures, and every warning that the report has."""
    figures = report["calibration"]
    boxes = [
        _box("top-1", percent(report["top1"]), interval(report["accuracy"]["top1"])),
        _box("top-5", percent(report["top5"]), interval(report["accuracy"]["top5"])),
        _box(
            "ECE", number(report["ece"]), f"{figures['ece_low']:.4f} to {figures['ece_high']:.4f}"
        ),
        _box("photos", count(report["n"]), f"of {report['photos']['found']:,} that are labelled"),
    ]
    rows = [
        [
            title, percent(one["value"]), interval(one), count(one["n"]),
            number(None) if one["published"] is None else percent(one["published"]),
            {None: "none is given", True: "inside", False: "outside the interval"}[one["published_inside"]],
        ]
        for title, one in (("top-1", report["accuracy"]["top1"]), ("top-5", report["accuracy"]["top5"]))
    ]  # fmt: skip
    real = report["real"]
    if real and real["n"]:
        rows += [
            [f"{title}, labels of --real", percent(one["value"]), interval(one), count(one["n"]), number(None), ""]
            for title, one in (("top-1", real["top1"]), ("top-5", real["top5"]))
        ]  # fmt: skip
    heads = (
        "figure",
        Figure("value"),
        Figure("95 % interval"),
        Figure("n"),
        Figure("manifest's"),
        "lies",
    )
    return section(
        "summary",
        "Main figures",
        *(paragraph(one, kind="warning") for one in _warnings(report)),
        tag("div", *boxes, class_="boxes"),
        table("Accuracy, and the figures of the manifest", heads, rows),
        paragraph("Intervals of shares are Wilson's; that of ECE is by bootstrap.", kind="quiet"),
        _paper(report),
        _conditions(report),
    )


def _warnings(report: Report) -> Iterator[str]:
    if not report["model"]["trained"]:
        yield "The weights are untrained: these answers are meaningless."
    if report["baselines"]["sentence"]:
        yield report["baselines"]["sentence"]
    if report["segments"]["weak"]:
        weak = report["segments"]["weak"][0]
        yield f"Weak segment: {weak['text']}. {100 * weak['top1']:.1f} % of {weak['n']:,} photos are right."
    if report["damaged"]:
        photos = counted(len(report["damaged"]), "photo", "photos")
        counts = "is" if len(report["damaged"]) == 1 else "are"
        yield f"{photos} could not be classified, and {counts} not counted."
    alike = report["duplicates"]
    if alike["with_different_labels"]:
        groups = counted(
            alike["with_different_labels"], "group of equal files has", "groups of equal files have"
        )
        yield f"{groups} different labels."


def _conditions(report: Report) -> Markup:
    if not report["conditions"]:
        return Markup("")
    rows = [
        [f"--{one['name']}", number(one["limit"]), number(one["value"]), "met" if one["met"] else "not met"]
        for one in report["conditions"]
    ]  # fmt: skip
    return table("Conditions", ("condition", Figure("limit"), Figure("value"), "result"), rows)


def _paper(report: Report) -> Markup:
    """Return the paper's own figures, for the weights for which they hold."""
    paper = report["paper"]
    if not paper["rows"]:
        return paragraph(paper["note"], kind="quiet") if paper["note"] else Markup("")
    rows = [
        [
            test_name({"name": one["test"], "scales": one["scales"]}), percent(one["top1"]), percent(one["top5"]),
            "this test" if one["same"] else "",
        ]
        for one in paper["rows"]
    ]  # fmt: skip
    heads = ("test", Figure("top-1"), Figure("top-5"), "remark")
    return table(f"The paper's figures for these weights ({paper['source']})", heads, rows)


def _box(title: str, value: str, below: str) -> Markup:
    return tag("div", tag("span", title), tag("strong", value), tag("small", below), class_="box")


def calibration(report: Report, library: Matplotlib) -> Markup:
    """Return whether probabilities mean what they say."""
    figures = report["calibration"]
    bins = figures["bins"]
    known = [one for one in bins if one["n"]]
    widest = max(known, key=lambda one: abs(one["top1"] - one["mean_probability"]))
    title = (
        "Reliability diagram: the share of right answers against the probability of the first answer,"
        f" in {len(bins)} bins. The largest gap is in the bin up to {widest['up_to']:.2f}: a mean"
        f" probability of {widest['mean_probability']:.3f}, and {widest['top1']:.3f} of"
        f" {widest['n']:,} photos right."
    )
    rows = [
        ["ECE, 15 bins of equal width", number(figures["ece"])],
        ["its 95 % interval", Figure(f"{figures['ece_low']:.4f} to {figures['ece_high']:.4f}")],
        ["ECE, 15 bins of equal mass", number(figures["ece_equal_mass"])],
        ["mean probability of the first answer", number(figures["mean_probability"])],
        ["Brier score (0 to 2)", number(figures["brier"])],
        ["negative log-likelihood (nats)", number(figures["nll"])],
    ]
    bin_rows = [
        [f"up to {one['up_to']:.3f}", count(one["n"]), number(one["mean_probability"]), number(one["top1"])]
        for one in bins
    ]  # fmt: skip
    heads = ("probability", Figure("photos"), Figure("mean probability"), Figure("right"))
    return section(
        "calibration",
        "Calibration",
        tag("figure", reliability(library, bins, title)),
        _temperature(report),
        tag(
            "div",
            table("Calibration errors", ("figure", Figure("value")), rows),
            table("Bins of the diagram", heads, bin_rows),
            class_="beside",
        ),
    )


def _temperature(report: Report) -> Markup:
    found, applied = report["calibration"]["temperature"], report["model"]["temperature"]
    if not found:
        told = f" The manifest's, {applied:g}, was applied." if applied != 1 else ""
        return paragraph(f"There are too few photos to propose a temperature.{told}")
    return paragraph(
        "Proposed temperature: ",
        tag("strong", f"{found['value']:.3f}"),
        f". On photos that it was not fitted to ({found['folds']} folds) ECE would be"
        f" {found['ece']:.4f} in place of {report['ece']:.4f}, and NLL {found['nll']:.4f} in place of"
        f" {report['calibration']['nll']:.4f}. {found['sentence']}",
    )


def baselines(report: Report) -> Markup:
    """Return what a model would reach that looks at no photo."""
    found = report["baselines"]
    rows = [
        ["this model", percent(report["top1"])],
        [
            markup("always ", class_name(found["most_frequent"])),
            percent(found["most_frequent"]["top1"]),
        ],
        ["a class by chance", percent(found["uniform"]["top1"])],
        ["gain over the better of both", percent(found["gain"])],
        ["if each answer meant the label that it mostly has", percent(found["relabelled"])],
    ]
    if found["gain"] > 0:
        said = "The labels go with the photos: the model is better than one that looks at none."
    elif found["most_frequent"]["top1"] == 1:
        said = "All photos are of one class, so that a model that looks at none may know it."
    else:
        said = "A model that always answers the most frequent class would be right as often, or more often."
    return section(
        "baselines",
        "Baselines",
        paragraph(found["sentence"] or said, kind="warning" if found["sentence"] else None),
        table("Top-1 without looking", ("model", Figure("top-1")), rows),
    )
