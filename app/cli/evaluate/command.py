"""The options of `vgg-serve evaluate`."""

import os
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from app.bench.report import describe_machine, versions
from app.cli.console import err, out
from app.cli.environment import Key, read_settings
from app.cli.evaluate.model import Model, Side, open_model
from app.cli.evaluate.page import command_line, page, without_login
from app.cli.evaluate.photos import Reader, find_labelled
from app.cli.evaluate.progress import progress
from app.cli.evaluate.remote import Remote, open_remote, second_side
from app.cli.evaluate.served import served_test
from app.cli.evaluate.stress import stress as measure_stress
from app.cli.evaluate.summary import lines
from app.evaluation.answers import open_answers
from app.evaluation.baseline import UNTRAINED, UsualPhotos
from app.evaluation.html.plots import matplotlib
from app.evaluation.paper import paper_figures
from app.evaluation.real import read_real, real_accuracy
from app.evaluation.report import Evaluated, compare_with, conditions, digest, to_json
from app.evaluation.report import evaluate as report_on
from app.setup_errors import SetupError
from app.texts import name_of
from app.weights.manifests.baseline import ADVISED, write_baseline

HELP = (
    "Measure a model on labelled photos: accuracy, calibration, and what is odd about the labels.\n\n"
    "FOLDER has one folder a class, named by wnid, class name or index; or it is a CSV of paths and"
    " labels; or a flat folder (ILSVRC's validation photos) whose labels are in --labels. A run"
    " that was ended goes on where it was, with the answers kept beside the JSON.\n\n"
    "Exit status: 0 all conditions are met; 1 one is not, or nothing could be done; 2 the options"
    " are wrong; 130 Ctrl-C."
)


def evaluate(  # noqa: PLR0913 (options of a command)
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", exists=True, help="Labelled photos: a folder, or a CSV."),
    ],
    *,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Model (default: first of VGG_MODELS).")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Labels of a flat folder: a CSV, lines `photo label`, or one label a line in the"
            " order of the photos' names.",
        ),
    ] = None,
    real: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Count again with labels of which a photo may have several: real.json of ImageNet's"
            " reassessed labels, or a JSON object of photos' names and lists of class indices.",
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(help="Have the photos classified by a server: http://HOST:PORT."),
    ] = None,
    key: Key = None,
    test: Annotated[
        str,
        typer.Option(
            metavar="TEST",
            help="Which views of a photo are averaged: single, the crop that the service takes;"
            " ten-crop; or the paper's: dense, multi-scale, multi-crop.",
        ),
    ] = "single",
    scales: Annotated[
        str | None,
        typer.Option(
            metavar="PIXELS,..",
            help="Shorter sides for --test, such as 256,384,512 (default: the manifest's or the paper's).",
        ),
    ] = None,
    compare: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL|SETTING=VALUE|URL,..",
            help="Compare with another model, or other settings: vgg19, precision=float16,"
            " decode=exact, conv=direct, device=cpu, test=dense, or several of them; or with the"
            " model of another server: http://HOST:PORT, or http://HOST:PORT,vgg19.",
        ),
    ] = None,
    json: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write the report to this file.")
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            help="Write the report as a page, with plots and photos (needs matplotlib).",
        ),
    ] = None,
    stress: Annotated[
        bool,
        typer.Option(
            "--stress",
            help="Count which answers change where photos are compressed, blurred, grey, brighter, darker,"
            " shifted or turned: ten more runs a photo.",
        ),
    ] = False,
    stress_photos: Annotated[
        int, typer.Option(min=1, help="Photos that --stress takes, drawn by chance.")
    ] = 1000,
    answers: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            help="Keep answers in this file, to go on with (default: that of --json, or of --html, with"
            " .answers behind its name).",
        ),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            help="Write what the photos are like, as histograms, to this file: the service then tells"
            " how far its photos are from them. All photos are classified again.",
        ),
    ] = None,
    min_top1: Annotated[
        float | None, typer.Option(min=0, max=1, help="Fail below this share of right answers.")
    ] = None,
    max_ece: Annotated[
        float | None, typer.Option(min=0, max=1, help="Fail above this calibration error.")
    ] = None,
) -> None:
    """Read the options, classify what has no answer yet, and report; HELP has the rest."""
    library = matplotlib() if html is not None else None
    report_file = json or html
    answers = answers or (report_file and _beside(report_file, "answers"))
    _check_files(json, html, answers, baseline)
    _check_place(url, test, stress=stress, baseline=baseline is not None)
    served = served_test("--url", test, scales) if url is not None else "single"
    settings = read_settings()
    side = Side(settings, model, test, scales)
    wanted = second_side(side, url, key, compare) if compare is not None else None
    reader = find_labelled(folder, labels)
    first = open_model(side) if url is None else open_remote(url, key, model, served)
    if baseline is not None:
        first = _gathering(first)
    sets = read_real(real, reader(first.classes), len(first.classes)) if real is not None else None
    done, speed = _answer(first, reader, answers)
    accuracy = first.manifest.accuracy
    published = (accuracy.top1 / 100, accuracy.top5 / 100) if accuracy else None
    report = report_on(
        done, published, first.manifest.temperature, averaged=first.test.name != "single"
    )
    report |= {
        "conditions": conditions(report, min_top1, max_ece),
        "real": None if sets is None else _real(done, sets),
        "stress": None,
        "comparison": None,
        "command": command_line(),
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": _describe(first),
        "test": asdict(first.test),
        "paper": paper_figures(*first.published_as, first.test, trained=first.graph.trained),
        "photos": {
            "place": name_of(folder),
            "labels": labels and name_of(labels),
            "real": real and name_of(real),
        }
        | {"found": len(done.photos), "classified": report["n"], "sha256": digest(done)},
        "speed": speed,
        "machine": describe_machine(),
        "versions": versions(),
    }
    if stress and isinstance(first, Model):
        file = answers and _beside(answers, "stress")
        report["stress"] = measure_stress(first, done, file, stress_photos)
    if wanted is not None:
        second = wanted()
        other, speed = _answer(second, reader, answers and _beside(answers, "compared"))
        report["comparison"] = {
            "with": compare and without_login(compare), "second_model": _describe(second), "speed": speed,
            "second_test": asdict(second.test),
        } | compare_with(done, other)  # fmt: skip
    if json is not None:
        _write(json, to_json(report))
    if html is not None and library is not None:
        _write(html, page(report, done.photos, settings, first.manifest.preprocess, library))
    if baseline is not None and isinstance(first, Model):
        _write_baseline(baseline, first)
    for line in lines(report):
        out.print(line, soft_wrap=True)
    raise typer.Exit(0 if all(one["met"] for one in report["conditions"]) else 1)


def _check_files(*files: Path | None) -> None:
    """Refuse, before hours of work, files that cannot be written, and one name for two of them."""
    named = [file.resolve() for file in files if file is not None]
    for file in named:
        if not file.parent.is_dir():
            raise SetupError(f"{file.parent} is not a folder. Create it first.")
        if not os.access(file if file.exists() else file.parent, os.W_OK):
            raise SetupError(f"{file}: cannot be written. See to its permissions.")
        if named.count(file) > 1:
            raise SetupError(f"{file}: is named for two things. Each needs a file of its own.")


def _check_place(url: str | None, test: str, *, stress: bool, baseline: bool) -> None:
    """Refuse of a server what only a model of this machine can do."""
    if stress and (url is not None or test != "single"):
        raise SetupError(
            "--stress is for a model of this machine and its usual crop: leave out --url and --test."
        )
    if baseline and (url is not None or test != "single"):
        raise SetupError("--baseline is for a model of this machine: leave out --url and --test.")


def _beside(file: Path, what: str) -> Path:
    return file.with_name(f"{file.name}.{what}")


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise SetupError(f"{file}: the report cannot be written: {exc.strerror}.") from exc


def _gathering(model: Model | Remote) -> Model:
    """Return the model that gathers what its photos are like, with the pixels and the graph of a service."""
    if isinstance(model, Remote) or not model.graph.trained:
        raise SetupError(UNTRAINED)
    return replace(model, usual=UsualPhotos())


def _write_baseline(file: Path, model: Model) -> None:
    made = model.usual.baseline(model.manifest, model.graph.weights_sha256)
    try:
        write_baseline(file, made)
    except OSError as exc:
        raise SetupError(f"{file}: the baseline cannot be written: {exc.strerror}.") from exc
    if made.photos < ADVISED:
        err.print(
            f"The baseline is of {made.photos} photos: chance alone moves the index by"
            f" {9 / made.photos:.2f}. Take {ADVISED} or more."
        )


def _answer(
    model: Model | Remote, reader: Reader, file: Path | None
) -> tuple[Evaluated, dict[str, Any]]:
    """Return the photos with their answers, and how long it took to get those that were missing."""
    photos = reader(model.classes)
    if not model.graph.trained:
        err.print("[bold yellow]UNTRAINED weights: these answers are meaningless.[/]")
    with (
        open_answers(file, model.made_by) as answers,
        progress(err, model.manifest.name, len(photos)) as done,
    ):
        began = time.monotonic()
        count = model.answer(photos, answers, done)
        seconds = time.monotonic() - began
        answered = [answers.known[photo.name] for photo in photos]
    speed = {
        "photos": count,
        "seconds": seconds,
        "seconds_per_thousand": 1000 * seconds / count if count else None,
    }
    return Evaluated(photos, answered, model.classes), speed


def _real(done: Evaluated, sets: list[frozenset[int]]) -> dict[str, Any]:
    places = done.classified
    return real_accuracy(done.side(places).rows, [sets[place] for place in places])


def _describe(model: Model | Remote) -> dict[str, Any]:
    manifest = model.manifest
    made = {key: value for key, value in model.made_by.items() if key not in {"model", "vgg_serve"}}
    about = {"name": manifest.name, "title": manifest.title, "trained": model.graph.trained}
    return about | {"temperature": manifest.temperature} | made
