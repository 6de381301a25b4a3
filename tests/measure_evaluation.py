"""Compare an evaluation with references and with planted faults, and its time with that of the session alone.

    python -m tests.measure_evaluation           # 10,100 photos of ../shared/data (or $VGG_TEST_DATA)
    python -m tests.measure_evaluation --speed   # 1,000 photos of 500x375 through SqueezeNet

The first needs PyTorch, scikit-learn and scipy: top-1, top-5 and every first answer are compared with a plain
evaluation of the same pixels in PyTorch, calibration errors, intervals and McNemar's test with scikit-learn and
scipy. Then labels are swapped and shuffled, photos darkened, colours exchanged. The status is 1 if anything fails.

The second times, in turns of 125 photos, `vgg-serve evaluate`'s own work without starting a process, and decode
and `session.run` alone on all processors with the same batches; the ratios of their times, and of their CPU seconds.
"""

import argparse
import base64
import importlib
import json
import sys
import tempfile
import time
import warnings
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from app.cli.evaluate.model import Model, Side, open_model
from app.evaluation.answers import open_answers
from app.evaluation.dataset import Photo
from app.machine import usable_cpus
from app.records import Pixels
from app.runtime.dense_session import DenseSession
from app.service.parts import preparation
from app.service.settings import Settings
from tests.conftest import PHOTOS, SQUEEZENET, SQUEEZENET_MANIFEST
from tests.e2e.planted import Photos, torch_logits

SWAPPED, DARKENED = 200, 300
SIZE, MANY, PIECE, ROUNDS = (500, 375), 1000, 125, 7
CLOSE = 1e-9


class Checks:
    """Prints what was compared, and remembers whether all of it held."""

    def __init__(self) -> None:
        self.fine = True

    def say(self, *, holds: bool, sentence: str) -> None:
        """Print a line."""
        self.fine &= holds
        print(f"{'ok    ' if holds else 'FAILED'} {sentence}", flush=True)  # noqa: T201


def kept_rows(file: Path, names: list[str]) -> np.ndarray:
    """Return the probabilities that a run kept, float32 [N, classes]."""
    lines = [json.loads(line) for line in file.read_text().splitlines()[1:]]
    rows = {one["name"]: np.frombuffer(base64.b64decode(one["row"]), np.float32) for one in lines}
    return np.stack([rows[name] for name in names])


def compare_answers(photos: Photos, report: dict[str, Any], check: Checks) -> None:
    """Compare with the network in PyTorch, also where red and blue are exchanged."""
    torch, true, pixels = importlib.import_module("torch"), photos.labels, photos.pixels()
    logits, others = torch_logits(torch, pixels), torch_logits(torch, pixels, swapped=True)
    rows = kept_rows(photos.folder / "report.json.answers", photos.names)
    five = np.argsort(-logits, axis=1)[:, :5]
    hits = int((five[:, 0] == true).sum()), int((five == true[:, None]).any(axis=1).sum())
    ours = round(report["top1"] * len(true)), round(report["top5"] * len(true))
    same = int((rows.argmax(axis=1) == five[:, 0]).sum())
    check.say(holds=hits == ours, sentence=f"right first and first five: {ours}, PyTorch {hits}")
    check.say(
        holds=same == len(true), sentence=f"same first answer as PyTorch: {same} of {len(true)}"
    )
    changed = np.flatnonzero(five[:, 0] != others.argmax(axis=1))
    found = {one["name"] for one in report["comparison"]["changed"]["photos"]}
    equal = {photos.names[one] for one in changed} == found
    check.say(
        holds=equal,
        sentence=f"red and blue exchanged: {len(found)} answers change, PyTorch {len(changed)}",
    )


def compare_figures(photos: Photos, report: dict[str, Any], check: Checks) -> None:
    """Compare with scikit-learn and scipy."""
    metrics, stats = (
        importlib.import_module("sklearn.metrics"),
        importlib.import_module("scipy.stats"),
    )
    curve = importlib.import_module("sklearn.calibration").calibration_curve
    true = photos.labels
    rows = kept_rows(photos.folder / "report.json.answers", photos.names)
    sure, right = rows.max(axis=1).astype(float), rows.argmax(axis=1) == true
    figures = report["calibration"]

    def ece(strategy: str, edges: np.ndarray) -> float:
        hits, says = curve(right, sure, n_bins=15, strategy=strategy)
        counts = np.bincount(np.searchsorted(edges[1:-1], sure), minlength=15)
        return float((np.abs(hits - says) * counts[counts > 0]).sum() / len(sure))

    steps = np.linspace(0, 1, 16)
    pairs = {
        "ECE, equal width": (figures["ece"], ece("uniform", steps)),
        "ECE, equal mass": (
            figures["ece_equal_mass"],
            ece("quantile", np.percentile(sure, 100 * steps)),
        ),
        "Brier score": (
            figures["brier"],
            metrics.brier_score_loss(
                true, rows.astype(float), scale_by_half=False, labels=range(rows.shape[1])
            ),
        ),
        "NLL": (figures["nll"], _nll(rows, true)),
    }
    for name in ("top1", "top5"):
        one = report["accuracy"][name]
        k = round(one["value"] * one["n"])
        interval = stats.binomtest(k, one["n"]).proportion_ci(method="wilson")
        pairs |= {
            f"{name}, low": (one["low"], interval.low),
            f"{name}, high": (one["high"], interval.high),
        }
    test = report["comparison"]["mcnemar"]
    lost, won = test["only_first_right"], test["only_second_right"]
    pairs["McNemar, exact"] = (test["p_exact"], stats.binomtest(lost, lost + won).pvalue)
    pairs["McNemar, chi-squared"] = (test["p_chi2"], stats.chi2.sf(test["chi2"], 1))
    for name, (ours, theirs) in pairs.items():
        sentence = f"{name}: {ours:.12g}, reference {theirs:.12g}"
        check.say(holds=abs(ours - theirs) < CLOSE, sentence=sentence)


def _nll(rows: np.ndarray, true: np.ndarray) -> float:
    tiny = np.finfo(np.float32).tiny
    return float(-np.log(np.maximum(rows[np.arange(len(true)), true].astype(float), tiny)).mean())


def plant(photos: Photos, check: Checks) -> None:
    """Plant faults, and look whether they are found."""
    for seed in range(3):
        planted = photos.swap(SWAPPED, seed)
        pairs = zip(photos.names, photos.wnids, strict=True)
        found = photos.evaluate([planted.get(name, wnid) for name, wnid in pairs])
        first = found["suspected_label_errors"][: 2 * SWAPPED]
        hits = sum(one["name"] in planted for one in first)
        sentence = f"{len(planted)} swapped labels: {hits} among the first {2 * SWAPPED} suspects"
        check.say(holds=hits >= 0.6 * SWAPPED, sentence=sentence)
    sentence = photos.evaluate(photos.shuffled())["baselines"]["sentence"]
    check.say(holds="look shuffled" in (sentence or ""), sentence=f"labels shuffled: {sentence}")
    photos.darken(DARKENED)
    segments = photos.evaluate()["segments"]
    photos.restore()
    named = [one for one in segments["weak"] if one["text"].startswith("brightness up to")]
    listed = ", ".join(
        f"{one['text']}: {one['top1']:.3f} of {one['n']}" for one in segments["weak"]
    )
    weak = segments["properties"]["brightness"]["segments"][0]["weak"]
    sentence = f"{DARKENED} darkened photos: {listed or 'no segment'}; darkest third weak: {weak}"
    check.say(holds=bool(named), sentence=sentence)


def compare_all() -> bool:
    """Do everything but the speed."""
    check = Checks()
    with tempfile.TemporaryDirectory() as name:
        photos = Photos(Path(name))
        began = time.monotonic()
        report = photos.evaluate(
            None, "--compare", "swapped", "--html", photos.folder / "report.html"
        )
        seconds = time.monotonic() - began
        size = (photos.folder / "report.html").stat().st_size
        sentence = f"{report['n']} photos and a comparison in {seconds:.1f} s; the page has {size / 1e6:.2f} MB"
        check.say(holds=size < 2e6, sentence=sentence)
        compare_answers(photos, report, check)
        compare_figures(photos, report, check)
        plant(photos, check)
    return check.fine


def write_photos(folder: Path) -> list[Photo]:
    """Write photos of 500x375, each a part of one of the tests' photos, as cameras compress them."""
    sources = [Image.open(path).convert("RGB") for path in sorted(PHOTOS.glob("*.jpg"))]
    random, photos = np.random.default_rng(0), []
    for number in range(MANY):
        source = sources[number % len(sources)]
        width = int(random.integers(source.width // 2, source.width))
        height = min(source.height, width * SIZE[1] // SIZE[0])
        left, top = (
            int(random.integers(0, 1 + most))
            for most in (source.width - width, source.height - height)
        )
        part = source.crop((left, top, left + width, top + height)).resize(SIZE)
        if number % 2:
            part = part.filter(ImageFilter.SHARPEN)
        path = folder / f"{number:04}.jpg"
        part.save(path, "JPEG", quality=90)
        photos.append(Photo(path, path.name, number % 1000))
    return photos


def raw(model: Model, photos: list[Photo], batch: int) -> None:
    """Decode in threads and run in batches, and nothing else."""
    prepare, preprocess = preparation(model.settings), model.manifest.preprocess
    assert not isinstance(model.session, DenseSession)
    run = model.session.run

    def decode(photo: Photo) -> Pixels:
        return prepare(photo.path.read_bytes(), preprocess)[0]

    left, waiting = iter(photos), deque[Any]()
    with ThreadPoolExecutor(usable_cpus()) as pool:
        waiting.extend(pool.submit(decode, one) for one in islice(left, 2 * batch))
        while waiting:
            some = [waiting.popleft().result() for _ in range(min(batch, len(waiting)))]
            waiting.extend(pool.submit(decode, one) for one in islice(left, batch))
            run(np.stack(some))


def speed() -> None:
    """Print the times of both, and their ratios."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / SQUEEZENET.name).symlink_to(SQUEEZENET)
        (folder / "squeezenet.toml").write_text(SQUEEZENET_MANIFEST)
        settings = Settings(model_dir=folder, models=("squeezenet",), offline=True)
        model = open_model(Side(settings, "squeezenet"))
        (folder / "photos").mkdir()
        photos = write_photos(folder / "photos")
        with open_answers(None, model.made_by) as answers:
            model.answer(
                photos[:64], answers, lambda: None
            )  # threads, caches, the fastest way to run
        totals: list[tuple[float, ...]] = []
        for number in range(ROUNDS):
            used = np.zeros((2, 2))
            with open_answers(folder / f"{number}.answers", model.made_by) as answers:
                ways: list[Callable[[list[Photo]], object]] = [
                    partial(raw, model, batch=model.batch),
                    partial(model.answer, answers=answers, done=lambda: None),
                ]
                for at in range(0, MANY, PIECE):
                    for way in (0, 1) if at // PIECE % 2 == number % 2 else (1, 0):
                        used[way] += timed(partial(ways[way], photos[at : at + PIECE]))
            (alone, alone_cpu), (ours, ours_cpu) = used.tolist()
            totals.append((ours / alone, ours_cpu / alone_cpu))
            print(  # noqa: T201
                f"evaluate {ours:.2f} s ({ours_cpu:.2f} s of CPU), session.run and decode {alone:.2f} s"
                f" ({alone_cpu:.2f} s of CPU): {totals[-1][0]:.3f} x ({totals[-1][1]:.3f} x)",
                flush=True,
            )
        wall, cpu = (median(one) for one in zip(*totals, strict=True))
        print(f"median: {wall:.3f} x the time, {cpu:.3f} x the CPU seconds")  # noqa: T201


def timed(what: Any) -> tuple[float, float]:
    """Return the seconds and the CPU seconds of a call."""
    began, used = time.perf_counter(), time.process_time()
    what()
    return time.perf_counter() - began, time.process_time() - used


def main() -> None:
    """Read the options."""
    # Rows of float32 sum to 1 within 1e-6, of which scikit-learn warns.
    warnings.filterwarnings("ignore", message="The y_prob values do not sum to one")
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    options.add_argument("--speed", action="store_true")
    if options.parse_args().speed:
        speed()
        return
    sys.exit(not compare_all())


if __name__ == "__main__":
    main()
