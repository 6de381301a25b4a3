"""Every built-in model can be served, and a mistake in a manifest is reported with its file and key."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from app.graph.vgg import ARCHITECTURES, VggConfig, architecture
from app.records import Explanation, Preprocess
from app.setup_errors import ManifestError
from app.weights.download.hub import HUB
from app.weights.manifests.catalog import BUILT_IN, find_file, load_catalog, read_manifest
from app.weights.manifests.manifest import Accuracy, Checkpoint, DataFile

SHA256, SHA384 = "5" * 64, "3" * 96

VGG = f"""
name = "mine"
title = "Mine"
architecture = "vgg16"
labels = "imagenet-1k"
license = "MIT"

[checkpoint]
format = "safetensors"
file = "mine.safetensors"
url = "https://example.org/a/model.safetensors"
sha256 = "{SHA256}"
size = 553430176

[preprocess]
resize = 256
crop = 224
channels = "RGB"
mean = [123.675, 116.28, 103.53]
std = [58.395, 57.12, 57.375]

[accuracy]
top1 = 71.5
top5 = 90
source = "somebody"
"""

READY = """
name = "mine"
title = "Mine"
onnx = "mine.onnx"
labels = "imagenet-1k"
license = "MIT"

[preprocess]
resize = 256
crop = 227
channels = "BGR"
mean = [104, 117, 123]
std = [1, 1, 1]
"""

Edit: TypeAlias = Callable[[str], str]


def put(key: str, value: str) -> Edit:
    """Replace the value of a key."""
    return lambda text: re.sub(rf"(?m)^{key} = .*$", lambda _: f"{key} = {value}", text)


def drop(key: str) -> Edit:
    """Remove a key."""
    return lambda text: re.sub(rf"(?m)^{key} = .*\n", "", text)


def drop_table(name: str) -> Edit:
    """Remove a table with all that is in it."""
    return lambda text: re.sub(rf"\[{name}\][^\[]*(?:\[[\d., ]*\][^\[]*)*", "", text)


def add(line: str, table: str = "") -> Edit:
    """Add a line to a table, or to the top."""
    head = f"[{table}]\n" if table else "\n"
    return lambda text: text.replace(head, f"{head}{line}\n", 1)


def write(folder: Path, text: str, name: str = "mine") -> Path:
    """Put a manifest into a folder."""
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return path


# --- what is right -------------------------------------------------------------------


def test_built_in_models():
    """VGG-16 and VGG-19 of three trainings, a small one, and two networks to compare them with."""
    names = "vgg11 vgg13 vgg16 vgg16-mini vgg16-oxford vgg16_bn vgg19 vgg19-oxford vgg19_bn"

    assert ["alexnet", "squeezenet", *names.split()] == sorted(load_catalog(BUILT_IN))


@pytest.mark.parametrize("name", ["alexnet", "squeezenet"])
def test_a_built_in_ready_graph_can_be_fetched_and_trusted(name):
    """Size and digest are those that the model zoo published, whichever host the file is on now."""
    manifest = load_catalog(BUILT_IN)[name]

    assert manifest.onnx is not None
    assert manifest.url is not None
    assert manifest.url.startswith(f"{HUB}/")
    assert None not in {manifest.digest, manifest.size, manifest.accuracy}


@pytest.mark.parametrize("path", sorted(BUILT_IN.glob("vgg*[!i].toml")), ids=lambda path: path.stem)
def test_built_in_manifest_can_be_fetched_and_trusted(path):
    """Each has an address, an architecture, measured accuracy, and something that tells its bytes.

    That is a digest, or else the Hugging Face Hub over TLS, which publishes one.
    """
    manifest = read_manifest(path)

    assert manifest.checkpoint is not None
    assert manifest.checkpoint.url is not None
    assert manifest.checkpoint.digest or manifest.checkpoint.url.startswith(f"{HUB}/")
    assert manifest.architecture in [architecture(name) for name in ARCHITECTURES]
    assert manifest.accuracy is not None
    assert manifest.trained
    assert (256, 224) == (manifest.preprocess.resize, manifest.preprocess.crop)
    assert 0.5 < manifest.accuracy.top1 / manifest.accuracy.top5 < 1


@pytest.mark.parametrize("name", ["vgg11", "vgg13", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn"])
def test_torchvision_preprocessing(name):
    """Weights of torchvision want RGB, the mean and the spread of ImageNet, times 255."""
    preprocess = load_catalog(BUILT_IN)[name].preprocess

    assert "RGB" == preprocess.channels
    assert pytest.approx((0.485, 0.456, 0.406)) == tuple(x / 255 for x in preprocess.mean)
    assert pytest.approx((0.229, 0.224, 0.225)) == tuple(x / 255 for x in preprocess.std)


@pytest.mark.parametrize("name", ["vgg16-oxford", "vgg19-oxford", "alexnet", "squeezenet"])
def test_oxford_preprocessing(name):
    """Oxford's own weights, and others from Caffe, want BGR, blue's mean first, and no division."""
    expected = Preprocess(256, 224, "BGR", (103.939, 116.779, 123.68), (1, 1, 1))

    assert expected == load_catalog(BUILT_IN)[name].preprocess


def test_everything_in_a_checkpoint_manifest_is_read(tmp_path):
    """Each value of the file arrives where it belongs."""
    path = write(tmp_path, add("trained = false")(VGG))

    manifest = read_manifest(path)

    assert (path, "mine", "Mine", "MIT", "imagenet-1k", VggConfig("D"), False) == (
        manifest.path,
        manifest.name,
        manifest.title,
        manifest.license,
        manifest.labels,
        manifest.architecture,
        manifest.trained,
    )
    assert Checkpoint(
        format="safetensors",
        file="mine.safetensors",
        url="https://example.org/a/model.safetensors",
        sha256=SHA256,
        size=553430176,
    ) == (manifest.checkpoint)
    assert Preprocess(256, 224, "RGB", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)) == (
        manifest.preprocess
    )
    assert Accuracy(top1=71.5, top5=90.0, source="somebody") == manifest.accuracy
    assert (None, None) == (manifest.onnx, manifest.digest)


def test_how_answers_are_explained(tmp_path):
    """Without a table it is Grad-CAM at the last convolution, at 15 %; a table may say each of the three."""
    wanted = (
        '\n[explanation]\nmethod = "layer-cam"\nlayers = ["pool4", "conv5_1"]\nthreshold = 0.4\n'
    )

    given = [read_manifest(write(tmp_path, VGG + more)) for more in ("", wanted)]

    expected = [
        Explanation("grad-cam", ("conv5_3",), 0.15),
        Explanation("layer-cam", ("pool4", "conv5_1"), 0.4),
    ]
    assert expected == [manifest.explanation for manifest in given]
    vgg19 = load_catalog(BUILT_IN)["vgg19"].explanation
    assert vgg19 is not None
    assert ("conv5_4",) == vgg19.layers
    assert read_manifest(write(tmp_path, READY)).explanation is None


def test_ready_graph(tmp_path):
    """A ready graph needs no architecture, may have another crop and may be pinned."""
    manifest = read_manifest(write(tmp_path, add(f'sha256 = "{SHA256}"')(READY)))

    assert ("mine.onnx", f"sha256:{SHA256}") == (manifest.onnx, manifest.digest)
    assert (None, None, None) == (manifest.architecture, manifest.checkpoint, manifest.accuracy)
    assert (227, True) == (manifest.preprocess.crop, manifest.trained)


def small(table: str) -> Edit:
    """Describe the network in a table instead of naming it."""
    return lambda text: put("crop", "64")(drop("architecture")(text)) + f"[architecture]\n{table}\n"


@pytest.mark.parametrize(
    ("table", "network"),
    [
        (
            'configuration = "D"\nwidth = 0.375\nside = 64\nhidden = [512, 512]',
            VggConfig("D", (24, 48, 96, 192, 192), (512, 512), side=64),
        ),
        ('configuration = "A"\nside = 64', VggConfig("A", side=64)),
        (
            'configuration = "E"\nwidth = 2\nside = 64\nhidden = [9, 7]',
            VggConfig("E", (128, 256, 512, 1024, 1024), (9, 7), side=64),
        ),
        (
            'configuration = "B"\nwidth = 0.001\nside = 64',
            VggConfig("B", (1, 1, 1, 1, 1), side=64),
        ),
    ],
)
def test_network_of_any_size(tmp_path, table, network):
    """A table gives the configuration, and where it differs from the paper's: width, side, hidden."""
    assert network == read_manifest(write(tmp_path, small(table)(VGG))).architecture


@pytest.mark.parametrize("class_", ['"n02123045"', '"tabby, tabby cat"', "281"])
def test_photo_of_the_self_test(tmp_path, class_):
    """A table names a photo, and its class in one of three ways."""
    text = VGG + f'[selftest]\nphoto = "cat.jpg"\nclass = {class_}\n'

    selftest = read_manifest(write(tmp_path, text)).selftest

    assert selftest is not None
    assert ("cat.jpg", class_.strip('"')) == (selftest.photo, str(selftest.class_))


def test_temperature(tmp_path):
    """It is 1 unless the manifest has one; whole numbers are numbers."""
    lines = [
        "",
        "temperature = 1.07",
        "temperature = 2",
        "temperature = 0.05",
        "temperature = 20.0",
    ]
    found = [read_manifest(write(tmp_path, add(line)(VGG))).temperature for line in lines]

    assert [1.0, 1.07, 2.0, 0.05, 20.0] == found
    assert {float} == {type(one) for one in found}


def test_files_come_from_the_model_folder_or_with_the_service(tmp_path):
    """The operator's own file wins; what is nowhere is expected in the model folder."""
    mini = "vgg16-mini.safetensors"

    assert BUILT_IN / mini == find_file(mini, tmp_path)
    (tmp_path / mini).touch()
    assert [tmp_path / mini, tmp_path / "none"] == [find_file(n, tmp_path) for n in (mini, "none")]


@pytest.mark.parametrize(("crop", "top1"), [(1, 0), (1024, 100)])
def test_ends_of_a_range_belong_to_it(tmp_path, crop, top1):
    """Both ends are allowed, for whole numbers and for others; whole numbers become floats."""
    text = put("resize", str(crop))(put("crop", str(crop))(READY))
    accuracy = f'[accuracy]\ntop1 = {top1}\ntop5 = {top1}.0\nsource = "somebody"\n'

    manifest = read_manifest(write(tmp_path, text + accuracy))

    assert (crop, crop) == (manifest.preprocess.resize, manifest.preprocess.crop)
    assert Accuracy(top1=float(top1), top5=float(top1), source="somebody") == manifest.accuracy
    assert (104.0, 117.0, 123.0) == manifest.preprocess.mean
    assert all(isinstance(value, float) for value in manifest.preprocess.mean)


def test_sha384(tmp_path):
    """Some publishers give a SHA-384 and nothing else."""
    text = VGG.replace(f'sha256 = "{SHA256}"', f'sha384 = "{SHA384}"')

    checkpoint = read_manifest(write(tmp_path, text)).checkpoint

    assert checkpoint is not None
    assert f"sha384:{SHA384}" == checkpoint.digest


def test_file_is_named_after_the_model_where_the_manifest_names_none(tmp_path):
    """Many a publisher calls its file model.safetensors: two models do not share one."""
    checkpoint = read_manifest(write(tmp_path, drop("file")(VGG))).checkpoint

    assert checkpoint is not None
    assert "mine-model.safetensors" == checkpoint.file


def test_folder_wins_over_built_in(tmp_path):
    """An operator's manifest replaces the built-in one of its name and leaves the others."""
    write(tmp_path, put("name", '"vgg16"')(VGG), "vgg16")

    catalog = load_catalog(tmp_path)

    assert ("Mine", tmp_path / "vgg16.toml") == (catalog["vgg16"].title, catalog["vgg16"].path)
    assert "VGG-19, configuration E" == catalog["vgg19"].title


def test_new_model_joins_the_built_in_ones(tmp_path):
    """A file dropped into the model folder is all it takes."""
    write(tmp_path, READY)

    assert {"mine"} == load_catalog(tmp_path).keys() - load_catalog(BUILT_IN).keys()


def test_model_folder_that_is_not_there(tmp_path):
    """Before the first download there is no such folder, and the built-in models are there."""
    assert load_catalog(BUILT_IN) == load_catalog(tmp_path / "none")


def test_one_wrong_manifest_stops_the_start(tmp_path):
    """A mistake is reported at once and not when the model is requested."""
    write(tmp_path, READY)
    write(tmp_path, "name = 5", "other")

    with pytest.raises(ManifestError, match=r"other\.toml: name: is 5, expected"):
        load_catalog(tmp_path)


def test_files_beside_an_onnx_file(tmp_path):
    """Each file of data may be pinned by a table of its own."""
    tables = f"""
[[external]]
file = "mine.onnx.data"
sha256 = "{"1" * 64}"
size = 12
[[external]]
file = "größer (2).bin"
"""

    first, second = read_manifest(write(tmp_path, READY + tables)).external

    assert DataFile(file="mine.onnx.data", sha256="1" * 64, size=12) == first
    assert DataFile(file="größer (2).bin") == second


@pytest.mark.parametrize(
    ("tables", "key", "problem"),
    [
        ('[[external]]\nfile = "a/b"', "external.file", "is 'a/b', expected a file name without a folder"),
        ("[[external]]\nsize = 1", "external.file", "is missing, expected a file name"),
        ('[[external]]\nfile = "a"\n[[external]]\nfile = "b"\nsize = 0', "external.size", "is 0, expected"),
        ('[[external]]\nfile = "a"\n[[external]]\nfile = "a"', "external", "has a file twice"),
        ('[[external]]\nfile = "a"\nlink = "b"', "external.link", "is not known here, expected one of: file,"),
        ('[[external]]\nfile = "a"\nurl = "b"', "external.url", "is 'b', expected an http or https address"),
        ('[[external]]\nfile = "a"\nsha256 = "1"', "external.sha256", "is '1', expected 64 lower-case hex"),
        ('[external]\nfile = "a"', "external", "expected tables [[external]], each with a file"),
    ],
)  # fmt: skip
def test_mistake_in_a_table_of_external_data(tmp_path, tables, key, problem):
    """Mistakes in one of several tables are named as those elsewhere."""
    with pytest.raises(ManifestError) as caught:
        read_manifest(write(tmp_path, f"{READY}\n{tables}"))

    assert key == caught.value.key
    assert problem in caught.value.problem


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_file_with_a_byte_order_mark(tmp_path, encoding):
    """What Windows' editors and PowerShell write is read."""
    path = write(tmp_path, READY)
    path.write_bytes(READY.replace("\n", "\r\n").encode(encoding))

    assert "mine" == read_manifest(path).name


def test_hidden_files_are_no_manifests(tmp_path):
    """A Mac leaves `._mine.toml` beside each file that it copies to a foreign disk."""
    write(tmp_path, READY)
    (tmp_path / "._mine.toml").write_bytes(b"\x00\x05\x16\x07")

    assert "mine" in load_catalog(tmp_path)


# --- what is wrong -------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    ["name = ", "name = 'a'\nname = 'b'", "{}", b"name = '\xff'", b"\x00"],
)
def test_not_toml(tmp_path, content):
    """Bad syntax, a repeated key and bytes that are not text name the file and the place."""
    path = tmp_path / "mine.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())

    with pytest.raises(ManifestError) as caught:
        read_manifest(path)

    assert (path, "") == (caught.value.path, caught.value.key)
    assert str(caught.value).startswith(f"{path}: cannot be read as TOML: ")


def test_not_there(tmp_path):
    """A file that cannot be opened is reported in the same way."""
    with pytest.raises(ManifestError, match=r"none\.toml: cannot be read as TOML: .*No such file"):
        read_manifest(tmp_path / "none.toml")


@pytest.mark.parametrize("value", ["1", "'x'", "[]", "true", "2026-01-01"])
def test_not_a_table(tmp_path, value):
    """A value in place of a table shows how a table is written."""
    path = write(tmp_path, drop_table("accuracy")(add(f"accuracy = {value}")(VGG)))

    with pytest.raises(ManifestError, match=r"accuracy: is .*, expected a table \[accuracy\]"):
        read_manifest(path)


@pytest.mark.parametrize(
    ("edit", "key", "found", "expected"),
    [
        (drop("name"), "name", "is missing", "lower-case letters"),
        (put("name", '"Mine"'), "name", "is 'Mine'", "lower-case letters"),
        (put("name", '"../mine"'), "name", "is '../mine'", "lower-case letters"),
        (put("name", '"yours"'), "name", "is 'yours'", "expected 'mine', the name of the file"),
        (drop("title"), "title", "is missing", "a text"),
        (put("title", '" "'), "title", "is ' '", "a text"),
        (put("title", "3"), "title", "is 3", "a text"),
        (drop("license"), "license", "is missing", "a text"),
        (drop("labels"), "labels", "is missing", "a label file"),
        (put("labels", '"../labels"'), "labels", "is '../labels'", "a label file"),
        (drop("architecture"), "architecture", "is missing", "one of vgg11, vgg13, vgg16c, vgg16"),
        (put("architecture", '"vgg17"'), "architecture", "is 'vgg17'", "vgg16, vgg19"),
        (put("architecture", "[]"), "architecture", "is []", "vgg16, vgg19"),
        (add('onnx = "a.onnx"'), "checkpoint", "", "not both"),
        (drop_table("checkpoint"), "checkpoint", "", "[checkpoint] or a key onnx"),
        (lambda t: drop_table("checkpoint")(add("checkpoint = 1")(t)), "checkpoint", "is 1", "["),
        (drop("format"), "checkpoint.format", "is missing", "safetensors, onnx, keras, caffe"),
        (put("format", '"pickle"'), "checkpoint.format", "is 'pickle'", "safetensors, onnx"),
        (put("file", '"a/b"'), "checkpoint.file", "is 'a/b'", "a file name without a folder"),
        (
            put("file", '"..\\\\b"'),
            "checkpoint.file",
            r"is '..\\b'",
            "a file name without a folder",
        ),
        (put("file", '""'), "checkpoint.file", "is ''", "a file name without a folder"),
        (
            lambda t: drop("url")(drop("file")(t)),
            "checkpoint.file",
            "is missing",
            "a file name without a folder, or a url",
        ),
        (put("url", '"ftp://a.org/b"'), "checkpoint.url", "is 'ftp://a.org/b'", "http or https"),
        (put("url", '"file:///etc/x"'), "checkpoint.url", "is 'file:///etc/x'", "http or https"),
        (put("url", '"a.org/b"'), "checkpoint.url", "is 'a.org/b'", "http or https"),
        (put("url", '"http:///b"'), "checkpoint.url", "is 'http:///b'", "http or https"),
        (put("url", '"http://[a/b"'), "checkpoint.url", "is 'http://[a/b'", "http or https"),
        (put("url", "7"), "checkpoint.url", "is 7", "http or https"),
        (put("sha256", '"abc"'), "checkpoint.sha256", "is 'abc'", "64 lower-case hex digits"),
        (put("sha256", f'"{"A" * 64}"'), "checkpoint.sha256", "is 'AAA", "64 lower-case hex"),
        (put("sha256", f'"{SHA384}"'), "checkpoint.sha256", "is '333", "64 lower-case hex digits"),
        (
            lambda t: t.replace("sha256", "sha384"),
            "checkpoint.sha384",
            "is '555",
            "96 lower-case hex digits",
        ),
        (add('md5 = "0"', "checkpoint"), "checkpoint.md5", "is not known", "file, format, sha256"),
        (put("size", "0"), "checkpoint.size", "is 0", "a whole number from 1"),
        (put("size", "1.5"), "checkpoint.size", "is 1.5", "a whole number from 1"),
        (put("size", "true"), "checkpoint.size", "is true", "a whole number from 1"),
        (drop_table("preprocess"), "preprocess", "is missing", "a table"),
        (drop("crop"), "preprocess.crop", "is missing", "a whole number from 1 to 1024"),
        (put("crop", "227"), "preprocess.crop", "is 227", "expected 224, the side of this network"),
        (put("crop", "true"), "preprocess.crop", "is true", "a whole number from 1 to 1024"),
        (put("crop", "2000"), "preprocess.crop", "is 2000", "a whole number from 1 to 1024"),
        (put("resize", "223"), "preprocess.resize", "is 223", "a whole number from crop to 1024"),
        (put("channels", '"rgb"'), "preprocess.channels", "is 'rgb'", "one of RGB, BGR"),
        (put("mean", "[1, 2]"), "preprocess.mean", "is [1, 2]", "three numbers from 0 to 255"),
        (put("mean", "128"), "preprocess.mean", "is 128", "three numbers from 0 to 255"),
        (put("mean", "[1, 2, true]"), "preprocess.mean", "is [1, 2, True]", "three numbers"),
        (put("mean", "[1, 2, 256]"), "preprocess.mean", "is [1, 2, 256]", "three numbers"),
        (put("mean", "[1, 2, nan]"), "preprocess.mean", "is [1, 2, nan]", "three numbers"),
        (put("std", "[1, 0, 1]"), "preprocess.std", "is [1, 0, 1]", "numbers from 0.001"),
        (put("std", "[1, -1, 1]"), "preprocess.std", "is [1, -1, 1]", "three numbers from 0.001"),
        (put("std", '["1", 1, 1]'), "preprocess.std", "is ['1', 1, 1]", "three numbers from 0.001"),
        (add("scale = 255", "preprocess"), "preprocess.scale", "is not known", "channels, crop"),
        (drop("top5"), "accuracy.top5", "is missing", "a number from 0 to 100"),
        (put("top1", "101"), "accuracy.top1", "is 101", "a number from 0 to 100"),
        (put("top1", '"71"'), "accuracy.top1", "is '71'", "a number from 0 to 100"),
        (put("top1", "false"), "accuracy.top1", "is false", "a number from 0 to 100"),
        (put("top1", "inf"), "accuracy.top1", "is inf", "a number from 0 to 100"),
        (add("top10 = 99", "accuracy"), "accuracy.top10", "is not known", "source, top1, top5"),
        (small("side = 64"), "architecture.configuration", "is missing", "one of A, B, C, D, E"),
        (small('configuration = "F"'), "architecture.configuration", "is 'F'", "one of A, B"),
        (
            small('configuration = "D"\nwidth = 0'),
            "architecture.width",
            "is 0",
            "a number above 0 and up to 4",
        ),
        (
            small('configuration = "D"\nside = 65'),
            "architecture.side",
            "is 65",
            "a multiple of 32 up to 1024",
        ),
        (
            small('configuration = "D"\nhidden = [512]'),
            "architecture.hidden",
            "is [512]",
            "two whole numbers",
        ),
        (
            small('configuration = "D"\ndepth = 16'),
            "architecture.depth",
            "is not known",
            "configuration, hidden, side, width",
        ),
        (
            small('configuration = "D"'),
            "preprocess.crop",
            "is 64",
            "expected 224, the side of this network",
        ),
        (
            lambda t: t + '[selftest]\nphoto = "a/b.jpg"\nclass = 1\n',
            "selftest.photo",
            "is 'a/b.jpg'",
            "a file name without a folder",
        ),
        (
            lambda t: t + '[selftest]\nphoto = "b.jpg"\n',
            "selftest.class",
            "is missing",
            "a WordNet id, a label or the index of a class",
        ),
        (
            lambda t: t + '[explanation]\nmethod = "rise"\n',
            "explanation.method",
            "is 'rise'",
            "one of grad-cam, layer-cam",
        ),
        (
            lambda t: t + "[explanation]\nthreshold = 1.0\n",
            "explanation.threshold",
            "is 1.0",
            "a number between 0 and 1",
        ),
        (
            lambda t: t + '[explanation]\nlayers = ["conv5_3", "conv5_4"]\n',
            "explanation.layers",
            "is ['conv5_3', 'conv5_4']",
            "some of conv1_1, conv1_2, pool1,",
        ),
        (
            lambda t: t + '[explanation]\nlayers = "conv5_3"\n',
            "explanation.layers",
            "is 'conv5_3'",
            "a list of layers",
        ),
        (add('trained = "no"'), "trained", "is 'no'", "true or false"),
        (add("trained = 0"), "trained", "is 0", "true or false"),
        (add('licence = "MIT"'), "licence", "is not known", "license"),
        (add('path = "/etc/x"'), "path", "is not known", "license"),
        (add("trained = " + "9" * 300), "trained", "is " + "9" * 100 + "...", "true or false"),
        (put("size", "9" * 30), "checkpoint.size", "is 999", "from 1 to 1099511627776"),
        (put("std", "[1e-320, 1, 1]"), "preprocess.std", "is [1e-320, 1, 1]", "from 0.001"),
        (
            lambda t: put("url", '"http://["')(drop("file")(t)),
            "checkpoint.url",
            "is 'http",
            "https",
        ),
        (lambda t: put("url", '""')(drop("file")(t)), "checkpoint.url", "is ''", "http or https"),
        (put("size", "[5]"), "checkpoint.size", "is [5]", "a whole number from 1"),
        (put("top1", "-0.1"), "accuracy.top1", "is -0.1", "a number from 0 to 100"),
        (put("top1", "nan"), "accuracy.top1", "is nan", "a number from 0 to 100"),
        (put("crop", "0"), "preprocess.crop", "is 0", "a whole number from 1 to 1024"),
        (
            add(f'sha384 = "{SHA384}"', "checkpoint"),
            "checkpoint.sha384",
            "is '333",
            "96 lower-case hex digits and no sha256",
        ),
        (
            add(f'sha256 = "{SHA256}"'),
            "sha256",
            "only for a ready graph",
            "expected in [checkpoint]",
        ),
        *(
            (
                add(f"temperature = {value}"),
                "temperature",
                f"is {shown}",
                "a number from 0.05 to 20",
            )
            for value, shown in (
                ("0", "0"),
                ("0.049", "0.049"),
                ("20.1", "20.1"),
                ("-1", "-1"),
                ("nan", "nan"),
                ("inf", "inf"),
                ('"1.07"', "'1.07'"),
                ("true", "true"),
                ("[1.0]", "[1.0]"),
            )
        ),
        (add("size = 7"), "size", "only for a ready graph", "expected in [checkpoint]"),
        (
            add('url = "https://example.org/m.onnx"'),
            "url",
            "only for a ready graph",
            "expected in [checkpoint]",
        ),
    ],
)
def test_mistake_names_file_key_and_remedy(tmp_path, edit, key, found, expected):
    """One sentence names the file, the key, the value and what was expected."""
    text = edit(VGG)
    path = write(tmp_path, text)

    with pytest.raises(ManifestError) as caught:
        read_manifest(path)

    assert VGG != text
    assert (path, key) == (caught.value.path, caught.value.key)
    assert str(caught.value).startswith(f"{path}: {key}: {found}")
    assert "expected" in caught.value.problem
    assert expected in caught.value.problem


@pytest.mark.parametrize(
    ("edit", "key", "problem"),
    [
        (put("onnx", '"a/b.onnx"'), "onnx", "is 'a/b.onnx', expected a file name"),
        (put("onnx", "true"), "onnx", "is true, expected a file name"),
        (add('architecture = "vgg16"'), "architecture", "only for a [checkpoint]"),
        (add('sha256 = "1234"'), "sha256", "is '1234', expected 64 lower-case hex digits"),
        (
            lambda t: t + "[explanation]\nthreshold = 0.2\n",
            "explanation",
            "only for a [checkpoint]",
        ),
    ],
)
def test_mistake_in_a_manifest_of_a_ready_graph(tmp_path, edit, key, problem):
    """The same holds where there is no checkpoint."""
    path = write(tmp_path, edit(READY))

    with pytest.raises(ManifestError) as caught:
        read_manifest(path)

    assert str(caught.value).startswith(f"{path}: {key}: {problem}")


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("https://example.org/m.safetensors#part", "mine-m.safetensors"),
        ("https://example.org/m.safetensors?download=true", "mine-m.safetensors"),
        ("https://example.org/é m.safetensors", "mine-__m.safetensors"),
        ("https://example.org/", "mine-"),
    ],
)
def test_file_is_named_after_its_address(tmp_path, url, file):
    """What a file name cannot hold is left out or replaced."""
    path = write(tmp_path, put("url", f'"{url}"')(drop("file")(VGG)))

    checkpoint = read_manifest(path).checkpoint

    assert checkpoint is not None
    assert file == checkpoint.file


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 3000])
def test_toml_that_python_cannot_read(tmp_path, value):
    """A number with too many digits or too many brackets is an error of the manifest, too."""
    path = write(tmp_path, f"trained = {value}")

    with pytest.raises(ManifestError, match="cannot be read as TOML"):
        read_manifest(path)
