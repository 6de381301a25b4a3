"""`vgg-serve evaluate`, as a user types it."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
from filelock import lock_descriptor
from PIL import Image

from app.weights.manifests.catalog import BUILT_IN
from tests.conftest import PHOTOS, REPOSITORY, png, write_colours

COLOURS = {"n01440764": "red", "goldfish": "lime", "2": "blue"}
"""Folders of ImageNet's classes 0, 1 and 2, which the network `colours` tells apart."""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A model folder with the network `colours`, and one that has red and blue exchanged."""
    folder = tmp_path_factory.mktemp("models")
    write_colours(folder)
    manifest = (folder / "colours.toml").read_text().replace('"colours"', '"swapped"')
    (folder / "swapped.toml").write_text(manifest.replace("RGB", "BGR") + "[accuracy]\ntop1 = 71.6\ntop5 = 90.4\nsource = 'a paper'\n")  # fmt: skip
    return folder


@pytest.fixture
def settings(models):
    """The environment of a command: the network `colours`, and wide lines."""
    return {"VGG_MODEL_DIR": str(models), "VGG_MODELS": "colours", "COLUMNS": "200"}


@pytest.fixture
def start(settings):
    """Start `vgg-serve evaluate ...` as a process of its own."""

    def start(*arguments, **environment):
        kept = {k: v for k, v in os.environ.items() if not k.startswith("VGG_")}
        return subprocess.Popen(
            [sys.executable, "-m", "app", "evaluate", *map(str, arguments)],
            cwd=REPOSITORY, env=kept | settings | environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    return start


@pytest.fixture
def run(evaluate, settings):
    """Call it; return its status, its output and what it said."""
    return lambda *arguments, **environment: evaluate(*arguments, **settings | environment)


@pytest.fixture
def folder(tmp_path):
    """Twelve photos in three folders: one with a wrong label, one there twice, one damaged."""
    place = tmp_path / "photos"
    for name, colour in COLOURS.items():
        (place / name).mkdir(parents=True)
        for number in range(4):
            (place / name / f"{number}.png").write_bytes(png(colour, size=(40 + number, 40)))
    (place / "2" / "wrong.png").write_bytes(png("red", size=(50, 50)))
    (place / "2" / "copy.png").write_bytes((place / "2" / "0.png").read_bytes())
    (place / "2" / "damaged.png").write_bytes(png("red")[:60])
    (place / "2" / "notes.txt").write_text("no photo")
    return place


def test_a_folder_is_evaluated(run, folder, tmp_path):
    """The figures are in the JSON and on the terminal; the conditions set the status."""
    file = tmp_path / "report.json"
    status, out, err = run(folder, "--json", file, "--min-top1", 0.9, "--max-ece", 0.1)
    report = json.loads(file.read_text())

    assert 0 == status, err
    assert [13 / 14, 1.0, 14] == [report[key] for key in ("top1", "top5", "n")]
    assert "2/damaged.png" in [one["name"] for one in report["damaged"]]
    assert "2/wrong.png" in [one["name"] for one in report["suspected_label_errors"]]
    assert [["2/0.png", "2/copy.png"]] == [one["names"] for one in report["duplicates"]["listed"]]
    assert ("colours", False) == (report["model"]["name"], report["model"]["trained"])
    assert ("float32", "cpu", "fast") == tuple(
        report["model"][key] for key in ("precision", "device", "decode")
    )
    assert ("92.86 %", "per thousand photos") == tuple(
        text for text in ("92.86 %", "per thousand photos") if text in out
    )


@pytest.mark.parametrize("condition", [("--min-top1", "0.95"), ("--max-ece", "0.001")])
def test_a_condition_that_is_not_met_is_the_status(run, folder, tmp_path, condition):
    """The report is written nevertheless."""
    status, out, _ = run(folder, "--json", tmp_path / "report.json", *condition)
    [found] = json.loads((tmp_path / "report.json").read_text())["conditions"]

    assert (1, False) == (status, found["met"])
    assert f"{condition[0]} {condition[1]}: not met" in out


def test_two_models_are_compared(run, folder, tmp_path):
    """What changed is named: red and blue photos, where channels are exchanged."""
    file = tmp_path / "report.json"
    status, out, err = run(folder, "--json", file, "--compare", "swapped")
    found = json.loads(file.read_text())["comparison"]

    assert 0 == status, err
    assert ("swapped", 14, 10) == (
        found["second_model"]["name"],
        found["n"],
        found["changed"]["count"],
    )
    assert (9, 1) == tuple(found["mcnemar"][k] for k in ("only_first_right", "only_second_right"))
    assert found["mcnemar"]["p_exact"] < 0.05
    assert "n01440764/0.png" in [one["name"] for one in found["changed"]["photos"]]
    assert "10 answers changed" in out


def test_two_settings_are_compared(run, folder, tmp_path):
    """Nothing changes where nothing can."""
    file = tmp_path / "report.json"
    status, _, err = run(folder, "--json", file, "--compare", "decode=exact")
    found = json.loads(file.read_text())["comparison"]

    assert 0 == status, err
    assert ("exact", 0) == (found["second_model"]["decode"], found["changed"]["count"])
    assert 1.0 == found["mcnemar"]["p_exact"]


def test_ten_crops_are_for_any_model_and_are_compared_with_one(run, folder, tmp_path):
    """The report says which test it is of, and what the other side took."""
    file = tmp_path / "report.json"
    options = "--test", "ten-crop", "--compare", "test=multi-crop"
    status, out, err = run(folder, "--json", file, *options)
    report = json.loads(file.read_text())

    assert 0 == status, err
    assert [13 / 14, 14] == [report[key] for key in ("top1", "n")]
    assert {"name": "ten-crop", "scales": [36]} == report["test"]
    assert {"name": "multi-crop", "scales": [37, 55, 73]} == report["comparison"]["second_test"]
    assert "14 photos, ten-crop at 36 pixels" in out
    status, _, err = run(folder, "--json", file)
    assert (1, True) == (status, "holds answers with another" in err), err


def test_a_dense_answer_is_that_of_the_crop_where_only_one_fits(run, tmp_path):
    """With the small trained model: photos of its crop's size, mirrored or not; nothing of a strip."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, size in (("0", (64, 64)), ("1", (64, 64)), ("2", (64, 64 * 20))):
        pixels = np.random.default_rng(int(name)).integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
        Image.fromarray(pixels[:, ::-1]).save(folder / f"{name}-mirrored.png")
    (folder / "labels.csv").write_text("".join(f"{one.name},0\n" for one in folder.glob("*.png")))
    manifest = (BUILT_IN / "vgg16-mini.toml").read_text().replace("resize = 68", "resize = 64")
    (tmp_path / "vgg16-mini.toml").write_text(manifest)
    (tmp_path / "vgg16-mini.safetensors").symlink_to(BUILT_IN / "vgg16-mini.safetensors")
    rows = {}
    for test in ("single", "dense"):
        file = tmp_path / f"{test}.json"
        options = ("--test", "dense", "--scales", "64") if test == "dense" else ()
        status, _, err = run(
            folder / "labels.csv", "--json", file, *options,
            VGG_MODEL_DIR=str(tmp_path), VGG_MODELS="vgg16-mini",
        )  # fmt: skip
        assert 0 == status, err
        lines = (tmp_path / f"{test}.json.answers").read_text().splitlines()[1:]
        rows[test] = {answer["name"]: answer for answer in map(json.loads, lines)}

    for name in "01":
        both = [row_of(rows["single"][f"{name}{end}.png"]) for end in ("", "-mirrored")]
        np.testing.assert_allclose(
            np.mean(both, axis=0), row_of(rows["dense"][f"{name}.png"]), atol=1e-6
        )
    assert "up to 8 times as long as wide" in rows["dense"]["2.png"]["trouble"]


def test_one_file_for_two_things_is_refused_at_once(run, folder, tmp_path):
    """One would be written over the other, after hours."""
    file = tmp_path / "report"
    status, _, err = run(folder, "--json", file, "--baseline", file)

    assert (1, True) == (status, "is named for two things" in err), err
    assert not file.exists()


def row_of(answer):
    """Return the probabilities that are kept."""
    return np.frombuffer(base64.b64decode(answer["row"]), "<f4")


def test_a_page_is_written(run, folder, tmp_path):
    """With photos, flip rates and properties, whatever files are called; a second run decodes nothing again."""
    odd = [b"\xff\xfe.png", b"a\nb 'c' \"d\" <e>.png", "\u202egnp.\u6771\u4eac.png".encode()]
    for name in odd:
        (folder / "2" / os.fsdecode(name)).write_bytes(png("red", size=(60, 41)))
    json_file, file = tmp_path / "report.json", tmp_path / "report.html"
    found = []
    for _ in range(2):
        options = ("--json", json_file, "--html", file, "--stress", "--stress-photos", 9)
        status, _, err = run(folder, *options, "--compare", "swapped")
        assert 0 == status, err
        report = json.loads(json_file.read_text())
        found.append((report["top1"], report["segments"], report["stress"]))
    page = file.read_text()

    assert found[0] == found[1]
    assert 0 == report["speed"]["photos"] - 1  # the damaged one
    assert (9, 10) == (report["stress"]["n"], len(report["stress"]["changes"]))
    [grey] = [one for one in report["stress"]["changes"] if one["name"] == "grey"]
    assert 0 < grey["flip_rate"]["value"] < 1
    assert {"shorter_side", "aspect_ratio", "brightness", "contrast"} <= {
        name for name, one in report["segments"]["properties"].items() if one["segments"]
    }
    assert r"2/\xff\xfe.png" in page
    assert "2/a\\nb &#x27;c&#x27; &quot;d&quot; &lt;e&gt;.png" in page
    assert r"2/\u202egnp." in page
    assert "data:image/jpeg;base64," in page
    assert f"--html {file}" in page
    assert report["command"].startswith(f"vgg-serve evaluate {folder} --json")


def test_a_page_needs_matplotlib_before_any_photo(start, folder, tmp_path):
    """A sentence says how to install it; nothing was classified in vain."""
    (tmp_path / "matplotlib.py").write_text("raise ImportError")
    with start(folder, "--html", tmp_path / "a.html", PYTHONPATH=str(tmp_path)) as process:
        _, err = process.communicate(timeout=60)

    assert 1 == process.returncode
    assert "--html needs matplotlib" in err
    assert [] == [*tmp_path.glob("a.html*")]


def test_the_figures_of_the_manifest_are_compared(run, folder):
    """Per cent there, fractions here."""
    _, out, _ = run(folder, "-m", "swapped")

    assert "the manifest's 71.60 % lies outside" in out


def test_a_run_goes_on_where_it_was(start, run, folder, tmp_path):
    """After Ctrl-C, and after a photo has changed."""
    for number in range(400):
        (folder / "2" / f"more{number}.png").write_bytes(png("blue", size=(300, 300)))
    file, answers = tmp_path / "report.json", tmp_path / "report.json.answers"
    with start(folder, "--json", file) as process:
        while not answers.exists() or answers.read_bytes().count(b"\n") < 20:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    kept = answers.read_bytes().count(b"\n") - 1
    status, _, err_of_rest = run(folder, "--json", file)
    report = json.loads(file.read_text())

    assert (130, 0) == (process.returncode, status), err_of_rest
    assert "Traceback" not in err
    assert 414 == report["n"]
    assert report["speed"]["photos"] <= 415 - kept + 1
    (folder / "2" / "wrong.png").write_bytes(png("blue", size=(50, 50)))
    run(folder, "--json", file)
    report = json.loads(file.read_text())
    assert (1.0, 2) == (report["top1"], report["speed"]["photos"])


def test_the_figures_do_not_tell_that_a_run_was_ended(evaluate, tmp_path):
    """To the last bit, of a network with all kinds of layers: with most photos left, and with one."""
    photo, file = Image.open(PHOTOS / "coffee.jpg"), tmp_path / "report.json"
    for n in range(19):
        photo.crop((9 * n, 5 * n, 9 * n + 80, 5 * n + 80)).save(tmp_path / f"{n}.png")
    (tmp_path / "crops.csv").write_text("".join(f"{n}.png,{n}\n" for n in range(19)))
    answers, reports = tmp_path / "report.json.answers", []
    lines: list[bytes] = []
    for kept in (0, 1, 8, 18):
        if kept:  # killed in the next line
            answers.write_bytes(b"".join(lines[: 1 + kept]) + lines[1 + kept][:99])
        status, _, err = evaluate(
            tmp_path / "crops.csv", "--json", file, VGG_MODEL_DIR=str(tmp_path), VGG_MODELS="vgg16-mini"
        )  # fmt: skip
        assert 0 == status, err
        lines = lines or answers.read_bytes().splitlines(keepends=True)
        reports.append(json.loads(file.read_text()))
        assert 19 - kept == reports[-1].pop("speed")["photos"]
        reports[-1].pop("made")

    assert [reports[0]] * 3 == reports[1:]


def test_a_server_that_is_away_is_told(run, folder, tmp_path):
    """Which one, and why; nothing is written."""
    with socket.socket() as bound:  # a port at which nobody listens
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        status, out, err = run(folder, "--url", url, "--json", tmp_path / "report.json")

    assert (1, "") == (status, out)
    assert f"error: No server listens at {url}. Check the URL, and that the server runs." in err
    assert [] == [*tmp_path.glob("report.json*")]


def test_photos_with_several_labels_are_counted_again(run, folder, tmp_path):
    """A photo that cannot be classified has labels too; one without any is left out."""
    file, real = tmp_path / "report.json", tmp_path / "real.json"
    names = [f"{one.parent.name}/{one.name}" for one in folder.glob("*/*.png")]
    real.write_text(json.dumps({one: [0, 1, 2] for one in names} | {"2/0.png": [], "2/1.png": [5]}))
    status, out, err = run(folder, "--json", file, "--real", real)
    found = json.loads(file.read_text())["real"]

    assert 0 == status, err
    assert (13, 1) == (found["n"], found["left_out"])
    assert (12 / 13, 12 / 13) == (found["top1"]["value"], found["top5"]["value"])
    assert "with the labels of --real  top-1 92.31 %" in out


def test_two_runs_with_the_same_answers_are_told(run, folder, tmp_path):
    """The second says which file; the first is not disturbed."""
    answers = tmp_path / "answers"
    run(folder, "--answers", answers)
    with answers.open("rb") as held:
        assert lock_descriptor(held.fileno(), blocking=False)
        status, _, err = run(folder, "--answers", answers)

    assert 1 == status
    assert "another run is writing it" in err


def test_labels_may_be_in_a_file(run, tmp_path):
    """A CSV beside the photos, a flat folder with a list, a CSV with a folder."""
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, colour in enumerate(["red", "lime", "blue", "blue"]):
        (flat / f"val_{number}.png").write_bytes(png(colour, size=(40 + number, 40)))
    (flat / "val.txt").write_text("0\n1\n2\n1\n")
    (tmp_path / "val.csv").write_text(
        "path,label\n"
        + "".join(f"flat/val_{n}.png,{label}\n" for n, label in enumerate([0, 1, 2, 1]))
    )
    (flat / "names.csv").write_text("val_0.png,n01440764\nval_3.png,goldfish\n")
    runs = [
        (flat, "--labels", flat / "val.txt"), (tmp_path / "val.csv",), (flat, "--labels", flat / "names.csv")
    ]  # fmt: skip
    found = []
    for arguments in runs:
        assert 0 == run(*arguments, "--json", tmp_path / "r.json", "--answers", tmp_path / "a")[0]
        report = json.loads((tmp_path / "r.json").read_text())
        found.append((report["n"], report["top1"]))
        (tmp_path / "a").unlink()

    assert [(4, 0.75), (4, 0.75), (2, 0.5)] == found


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (("{photos}/2",), 1, "photos are in no folder of a class"),
        (("{photos}/missing",), 2, "does not exist"),
        (("{photos}/2/0.png",), 1, "is neither a folder nor a CSV"),
        (("{photos}", "-m", "vgg99"), 1, "There is no model 'vgg99'"),
        (("{photos}", "--compare", "vgg99"), 1, "There is no model 'vgg99'"),
        (("{photos}", "--compare", ""), 1, "--compare is '': expected one model"),
        (("{photos}", "--compare", "vgg16,vgg19"), 1, "expected one model, or settings, or both"),
        (("{photos}", "--compare", "precision=8"), 1, "precision is '8', expected one of auto"),
        (("{photos}", "--compare", "colour=red"), 1, "'colour' is none of precision"),
        (
            ("{photos}", "--url", "http://127.0.0.1:9", "--test", "multi-crop"),
            1,
            "a server has single, ten-crop, dense",
        ),
        (
            ("{photos}", "--url", "http://127.0.0.1:9", "--scales", "64"),
            1,
            "a server tests at a scale of its own",
        ),
        (
            ("{photos}", "--compare", "http://127.0.0.1:9,test=sparse"),
            1,
            "the test is 'sparse', and a server has",
        ),
        (
            ("{photos}", "--test", "ten-crop", "--scales", "40", "--compare", "http://127.0.0.1:9"),
            1,
            "--compare: a server tests",
        ),
        (("{photos}", "--real", "{photos}/2/notes.txt"), 1, "cannot be read as JSON"),
        (("{photos}", "--test", "dense"), 1, "colours is a ready ONNX graph"),
        (("{photos}", "--scales", "40"), 1, "--scales is for another --test"),
        (("{photos}", "--compare", "test=sparse"), 1, "--test is 'sparse', expected one of single"),
        (("{photos}", "--json", "{photos}/missing/a.json"), 1, "is not a folder. Create it first"),
        (
            ("{photos}", "--json", "/dev/full", "--answers", "{photos}/a"),
            1,
            "cannot be written: No space",
        ),
        (("{photos}", "--min-top1", "71"), 2, "Input should be less than or equal to 1"),
    ],
)
def test_mistakes_are_told_in_a_sentence(run, folder, arguments, status, sentence):
    """None ends in a traceback."""
    found, _, err = run(*[one.format(photos=folder) for one in arguments])

    assert status == found
    assert sentence in " ".join(err.replace("│", " ").split())
    assert "Traceback" not in err


def test_answers_of_other_settings_are_not_mixed_in(run, folder, tmp_path):
    """The sentence says which setting."""
    answers = tmp_path / "answers"
    run(folder, "--answers", answers)
    status, _, err = run(folder, "--answers", answers, VGG_DECODE="exact")

    assert 1 == status
    assert "holds answers with another decode ('fast', now 'exact')" in err


def test_a_temperature_is_told_and_its_answers_are_its_own(run, folder, models, tmp_path):
    """On the terminal and in the JSON; answers without it are not taken for answers with it, or back."""
    manifest = (models / "colours.toml").read_text()
    for name, text in (("colours", ""), ("warm", "temperature = 2.0\n")):
        made = manifest.replace("[pre", f"{text}[pre").replace(
            'name = "colours"', f'name = "{name}"'
        )
        (tmp_path / f"{name}.toml").write_text(made)
    (tmp_path / "colours.onnx").write_bytes((models / "colours.onnx").read_bytes())
    file, settings = tmp_path / "report.json", {"VGG_MODEL_DIR": str(tmp_path)}
    status, out, err = run(folder, "-m", "warm", "--json", file, "--compare", "colours", **settings)
    report = json.loads(file.read_text())

    assert 0 == status, err
    assert "at the temperature 2 of its manifest" in out
    assert [2.0, 1.0] == [
        one["temperature"] for one in (report["model"], report["comparison"]["second_model"])
    ]
    assert 0 == report["comparison"]["changed"]["count"]
    written = tmp_path / "colours.toml"
    written.write_text(written.read_text().replace("[pre", "temperature = 1.07\n[pre"))
    status, _, err = run(
        folder, "-m", "colours", "--answers", f"{file}.answers.compared", **settings
    )
    assert (1, True) == (status, "another temperature (None, now 1.07)" in err), err
    status, _, err = run(folder, "-m", "colours", "--answers", f"{file}.answers", **settings)
    assert "(2.0, now 1.07)" in err


# --- a baseline ------------------------------------------------------------------------


def test_a_baseline_needs_trained_weights(run, folder, tmp_path):
    """Answers of untrained weights mean nothing; nothing is written."""
    status, _, err = run(folder, "--baseline", tmp_path / "baseline.json")

    assert 1 == status
    assert "The weights are untrained" in err
    assert not (tmp_path / "baseline.json").exists()


def test_a_baseline_is_of_the_way_of_the_service(run, folder, tmp_path):
    """Other crops, as an answer of another machine, are not what a service here would see."""
    status, _, err = run(folder, "--baseline", tmp_path / "baseline.json", "--test", "ten-crop")

    assert 1 == status
    assert "--baseline is for a model of this machine" in err
    assert not (tmp_path / "baseline.json").exists()


def test_a_baseline_needs_photos(run, folder, tmp_path):
    """A dozen of them have no distribution; the sentence says how many it takes."""
    report, baseline = tmp_path / "report.json", tmp_path / "baseline.json"
    write_colours(tmp_path, "trained")
    manifest = tmp_path / "trained.toml"
    manifest.write_text(manifest.read_text().replace("trained = false", "trained = true"))
    settings = {"VGG_MODEL_DIR": str(tmp_path), "VGG_MODELS": "trained"}
    status, _, err = run(folder, "--json", report, "--baseline", baseline, **settings)

    assert 1 == status
    assert "--baseline: 14 photos were classified, expected 100 at least" in err
    assert report.exists()
    assert not baseline.exists()
