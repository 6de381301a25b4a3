"""`vgg-serve predict`, as a user types it, here and on a real server on a real socket."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import REPOSITORY, png, running_server, write_colours


@pytest.fixture(scope="module")
def models(colours):
    """A model folder with the network `colours`, and one of three classes."""
    write_colours(colours, "three", classes=3)
    return colours


@pytest.fixture(scope="module")
def server(models):
    """A server that takes a few photos a second, in small bodies."""
    with running_server(
        models, models="colours,three", rate_limit="200", rate_burst="5", max_body_bytes="50000"
    ) as server:
        yield server.url


@pytest.fixture
def start(models):
    """Start `vgg-serve predict ...` with the network `colours`."""

    def start(*arguments, **options):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("VGG_")}
        environment |= {"VGG_MODEL_DIR": str(models), "VGG_MODELS": "colours", "COLUMNS": "200"}
        environment |= {k: options.pop(k) for k in [*options] if k.startswith("VGG_")}
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
        command = [sys.executable, "-m", "app", "predict", *map(str, arguments)]
        return subprocess.Popen(command, cwd=REPOSITORY, env=environment, **options)

    return start


@pytest.fixture
def run(start):
    """Run it to its end; return its status, its output and what it said."""

    def run(*arguments, given=None, **options):
        with start(*arguments, **options) as process:
            out, err = process.communicate(given, timeout=60)
        return process.returncode, out, err

    return run


@pytest.fixture
def folder(tmp_path):
    """A folder with twelve photos, named in odd ways, and what else lies in folders."""
    (tmp_path / "deep").mkdir()
    for number, name in enumerate(["a.jfif", "b.JPE", "c", "=d.jpg", "e\nf.png", "deep/g.txt"] * 2):
        colour = ("red", "lime", "blue")[number % 3]
        path = tmp_path / (name if number < 6 else f"{name}.{number}")
        path.write_bytes(png(colour))
    for name, data in {
        "._a.jpg": b"\0\5\x16\7",
        ".DS_Store": b"\0\0\0\1Bud1",
        "IMG_1.HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        "broken.png": b"\x89PNG\r\n\x1a\nbroken",
        "huge.bmp": b"BM" + bytes(12) + b"\x28\0\0\0" + bytes(100_000),
        "notes.md": b"no photo",
        "text.jpg": b"no photo",
    }.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "deep" / "loop").symlink_to("..")
    os.mkfifo(tmp_path / "pipe.jpg")
    return tmp_path


FAILED = {"IMG_1.HEIC", "broken.png", "huge.bmp", "text.jpg"}


@pytest.mark.parametrize("remote", [False, True])
def test_a_folder_gets_one_row_a_photo(run, folder, server, remote):
    """Whatever its files are called; failures are rows, what is no picture is not."""
    status, out, err = run(folder, "--csv", "-k", 1, *(["--url", server] if remote else []))
    rows = [*csv.DictReader(io.StringIO(out, newline=""), strict=True)]
    names = [Path(row["file"]).relative_to(folder).as_posix() for row in rows]

    assert 1 == status
    assert 16 == len(rows)
    assert names == sorted(names)
    assert {Path(row["file"]).name for row in rows if row["error"]} == FAILED
    for row in rows:
        assert bool(row["error"]) != (row["label_1"] != "")
    assert "12 classified, 4 failed, 5 skipped" in err
    assert "1 HEIC is not supported" in err
    assert "2 hidden" in err


def test_here_and_on_a_server_the_answers_are_the_same(run, folder, server):
    """The same pixels, the same graph."""
    here = run(folder, "--json", "-q")[1]
    there = run(folder, "--json", "-q", "--url", server)[1]
    guesses = [
        [json.loads(line)["predictions"] for line in text.splitlines()] for text in (here, there)
    ]

    assert guesses[0] == guesses[1]


def test_a_network_of_three_classes(run, folder, server):
    """Without --top-k, fewer classes than usual are no mistake, here or on a server."""
    for remote in ([], ["--url", server]):
        status, out, err = run(folder / "c", "-m", "three", "--json", *remote)

        assert 0 == status, err
        assert ["2", "0", "1"] == [one["label"] for one in json.loads(out)["predictions"]]


def test_quiet_is_quiet(run, folder):
    """No summary, no progress; the exit status tells."""
    status, _, err = run(folder / "c", folder / "b.JPE", "--json", "--quiet")

    assert 0 == status
    assert "classified" not in err


def test_standard_input_is_classified(run):
    """`curl ... | vgg-serve predict -`."""
    status, out, _ = run("-", "--json", given=png("lime"), stdin=subprocess.PIPE, text=False)

    assert 0 == status
    assert ("-", 1) == (
        json.loads(out)["file"],
        json.loads(out)["predictions"][0]["class_index"],
    )


def test_a_missing_file_does_not_end_it(run, folder):
    """The others are classified, the status is 1."""
    status, out, err = run(folder / "none.jpg", folder / "c", "--json")

    assert 1 == status
    assert 2 == len(out.splitlines())
    assert "1 classified, 1 failed" in err


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--json", "--csv"], 2, "choose either --json or --csv"),
        (["--url", "ftp://host"], 2, "Expected"),
        (["--connections", "0"], 2, "--connections"),
        (["--url", "http://127.0.0.1:1"], 1, "No server listens at http://127.0.0.1:1"),
        (["--model", "vgg99"], 1, "vgg99"),
    ],
)
def test_mistakes_have_their_status(run, folder, arguments, status, said):
    """2 for a command that cannot be meant, 1 for what failed."""
    ended, _, err = run(folder, *arguments)

    assert status == ended
    assert said in " ".join(err.split())
    assert "Traceback" not in err


def test_a_key_is_asked_for(run, folder, models):
    """401 says how to give one."""
    (models / "keys").write_text("")
    with running_server(
        models, models="colours,three", api_keys_file=str(models / "keys")
    ) as closed:
        status, out, err = run(folder / "c", "--url", closed.url)

    assert (1, "") == (status, out)
    assert "--key KEY, or in the variable VGG_API_KEY" in err


def test_a_reader_may_leave(start, tmp_path):
    """`| head -1` ends it, quietly, with the status of a command that SIGPIPE ended."""
    for number in range(200):
        (tmp_path / f"{number:03}.png").write_bytes(png())
    with start(tmp_path, "--json") as process:
        assert process.stdout.readline().startswith('{"file"')
        process.stdout.close()
        err = process.stderr.read()
        status = process.wait(30)

    assert 141 == status
    assert "classified" not in err
    assert "Error" not in err


def test_ctrl_c_ends_with_the_summary(start, models, tmp_path):
    """What was classified is written and counted; photos that wait for the server are not."""
    for number in range(50):
        (tmp_path / f"{number:03}.png").write_bytes(png())
    with (
        running_server(models, models="colours,three", rate_limit="0.01", rate_burst="5") as slow,
        start(
            tmp_path, "--json", "--url", slow.url, "--patience", 9999, "--connections", 1
        ) as process,
    ):
        lines = [process.stdout.readline() for _ in range(5)]
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate(timeout=30)

    assert 130 == process.returncode
    assert [""] == [rest]
    assert 5 == len(lines)
    assert err.strip().splitlines()[-1].startswith("stopped: 5 classified, 0 failed, 0 skipped")
    assert "Traceback" not in err


def test_the_output_may_be_a_full_disk(run, folder):
    """It is told, and is no traceback."""
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with Path("/dev/full").open("w") as full:
        status, _, err = run(folder, "--csv", stdout=full)

    assert 1 == status
    assert "The results cannot be written: No space left on device." in err
    assert "Traceback" not in err


@pytest.fixture(scope="module")
def of_three(tmp_path_factory):
    """A model folder with the network `flowers`, which knows three classes and no WordNet ids."""
    folder = tmp_path_factory.mktemp("flowers")
    write_colours(folder, "flowers", classes=3)
    (folder / "flowers.txt").write_text("rose\nfern\nbluebell\n")
    return folder


@pytest.fixture(scope="module")
def server_of_three(of_three):
    """A server of `flowers`."""
    with running_server(of_three, models="flowers") as server:
        yield server.url


@pytest.fixture
def photo(tmp_path):
    """A red photo."""
    (tmp_path / "red.png").write_bytes(png("red"))
    return tmp_path / "red.png"


@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize(("k", "rows"), [((), 3), (("-k", 2), 2), (("-k", 3), 3)])
def test_a_model_of_three_classes_gives_three(
    run, photo, of_three, server_of_three, remote, k, rows
):
    """Without --top-k that is all it knows, here and on a server."""
    where = ["--url", server_of_three] if remote else []
    status, out, _ = run(
        photo, "--json", *k, *where, VGG_MODEL_DIR=str(of_three), VGG_MODELS="flowers"
    )
    found = json.loads(out)["predictions"]

    assert 0 == status
    assert ["rose", None, rows] == [found[0]["label"], found[0]["wnid"], len(found)]


@pytest.mark.parametrize("remote", [False, True])
def test_more_classes_than_the_model_knows_are_refused(
    run, photo, of_three, server_of_three, remote
):
    """The sentence says once how many it knows, not for each photo."""
    where = ["--url", server_of_three] if remote else []
    status, out, err = run(
        *[photo] * 3,
        *("--json", "-k", 7),
        *where,
        VGG_MODEL_DIR=str(of_three),
        VGG_MODELS="flowers",
    )

    assert ("", 1 if remote else 2) == (out, status)
    assert 1 == err.count("flowers knows 3 classes")
    assert "top" in err


def test_a_table_of_a_model_of_three_classes_has_empty_cells(run, photo, of_three):
    """CSV has its usual columns; those of classes that there are not are empty."""
    _, out, _ = run(photo, "--csv", VGG_MODEL_DIR=str(of_three), VGG_MODELS="flowers")
    [row] = csv.DictReader(io.StringIO(out, newline=""), strict=True)

    assert ["rose", "", "", ""] == [row[c] for c in ("label_1", "wnid_1", "label_4", "error")]


MINI = {"VGG_MODELS": "vgg16-mini"}


def test_explain_draws_each_photo_here_and_on_a_server(run, tmp_path, mini_server):
    """The same pictures, whoever classified: those of the server are drawn here from its numbers."""
    paths = []
    for where in ((), ("--url", mini_server.url)):
        out = tmp_path / f"out{len(where)}"
        status, text, said = run(
            REPOSITORY / "tests/photos", "--explain", "-o", out, "--json", *where, **MINI
        )
        assert (0, True) == (status, "3 classified" in said), said
        named = {json.loads(line)["overlay"] for line in text.splitlines()}
        assert {str(out / f"{name}.jpg.png") for name in ("chelsea", "coffee", "rocket")} == named
        paths.append(out)
    for name in ("chelsea", "coffee", "rocket"):
        here, there = (np.asarray(Image.open(out / f"{name}.jpg.png")).astype(int) for out in paths)
        assert here.shape == there.shape
        assert 3 > np.abs(here - there).max()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--explain",), "need each other"),
        (("-o", "out"), "need each other"),
        (("--explain", "-o", "tests/photos/out"), "taken for photos"),
    ],
)
def test_explain_needs_a_place(run, options, sentence):
    """Wrong options are told before a model is loaded."""
    status, _, said = run("tests/photos", *options)

    assert 2 == status
    assert sentence in said


def test_a_model_that_cannot_explain_says_so(run, tmp_path, server):
    """A ready graph, here and on a server; no photo is classified."""
    for where in ((), ("--url", server)):
        status, text, said = run("tests/photos", "--explain", "-o", tmp_path / "out", *where)
        assert (1, "") == (status, text)
        assert "ready ONNX graph" in said or "untrained" in said
