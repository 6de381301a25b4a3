"""A picture for each photo, in a place of its own."""

import asyncio
import io
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.cli.files import STDIN, File, Trouble
from app.cli.predict.overlays import Overlays, Places, PlacesError
from app.cli.predict.result import FileResult
from app.images.header_limits import ImageLimits
from app.images.overlay import Marks
from app.images.photo_box import PhotoBox
from app.images.prepare import prepare
from app.records import ImageInfo
from app.setup_errors import SetupError
from tests.conftest import png

SEEN = Marks(PhotoBox(0, 0, 48, 40), np.ones((2, 2), np.float32), PhotoBox(0, 0, 24, 20))
DECODER = partial(prepare, limits=ImageLimits())


class FakeSource:
    """Says the same of every photo."""

    ahead = 3

    def __init__(self, marks=SEEN, trouble=None):
        self.marks, self.trouble, self.closed = marks, trouble, False

    async def classify(self, file):
        info = ImageInfo(48, 40, "png")
        return FileResult(file.path, (), info, "m", marks=self.marks, trouble=self.trouble)

    def waiting_for(self):
        return "a server"

    async def close(self):
        self.closed = True


@pytest.fixture
def photos(tmp_path):
    """A folder of photos with a folder in it."""
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.png", "a.jpg", "deep/a.png"):
        (folder / name).write_bytes(png())
    return folder


def test_folders_are_kept_and_names_stay_whole(photos, tmp_path):
    """a.jpg and a.png are two pictures, and those of a folder are in a folder again."""
    places = Places(tmp_path / "out", [photos])

    assert tmp_path / "out/a.png.png" == places.of(photos / "a.png")
    assert tmp_path / "out/a.jpg.png" == places.of(photos / "a.jpg")
    assert tmp_path / "out/deep/a.png.png" == places.of(photos / "deep/a.png")


def test_several_folders_do_not_mix(photos, tmp_path):
    """Each has a folder of its name; a file that is named and standard input are beside them."""
    (tmp_path / "more").mkdir()
    places = Places(tmp_path / "out", [photos, tmp_path / "more", tmp_path / "b.jpg", STDIN])

    assert tmp_path / "out/photos/a.png.png" == places.of(photos / "a.png")
    assert tmp_path / "out/more/a.png.png" == places.of(tmp_path / "more/a.png")
    assert tmp_path / "out/b.jpg.png" == places.of(tmp_path / "b.jpg")
    assert tmp_path / "out/stdin.png" == places.of(STDIN)


def test_the_folder_above_does_not_lead_out_of_the_output(photos, tmp_path, monkeypatch):
    """`..` beside another photo has a folder of its real name."""
    monkeypatch.chdir(photos / "deep")
    places = Places(tmp_path / "out", [Path(".."), Path("a.png")])

    assert tmp_path / "out/photos/a.jpg.png" == places.of(Path("../a.jpg"))
    assert tmp_path / "out/a.png.png" == places.of(Path("a.png"))


def test_places_that_cannot_be_are_refused(photos, tmp_path, monkeypatch):
    """Two of the same name, and a folder within the photos."""
    with pytest.raises(PlacesError, match=r"called 'a\.png'"):
        Places(tmp_path / "out", [photos / "a.png", photos / "deep" / "a.png"])
    for folder in (photos, photos / "out", photos / "deep" / ".." / "x"):
        with pytest.raises(PlacesError, match="taken for photos"):
            Places(folder, [photos])
    monkeypatch.chdir(photos)
    assert Path("../out/a.png.png") == Places(Path("../out"), [Path()]).of(Path("a.png"))


def test_the_picture_is_written_and_named(photos, tmp_path):
    """The result says where it is; the source is asked and closed through it."""
    source = FakeSource()
    overlays = Overlays(source, Places(tmp_path / "out", [photos]), DECODER)
    result = asyncio.run(overlays.classify(File(photos / "deep/a.png")))
    asyncio.run(overlays.close())
    assert result.overlay is not None

    assert tmp_path / "out/deep/a.png.png" == result.overlay
    assert (800, 667) == Image.open(io.BytesIO(result.overlay.read_bytes())).size
    assert ("m", True, 3) == (result.model, source.closed, overlays.ahead)
    assert "a server" == overlays.waiting_for()


def test_standard_input_has_one_too(tmp_path):
    """What was piped is drawn."""
    overlays = Overlays(FakeSource(), Places(tmp_path / "out", [STDIN]), DECODER)
    result = asyncio.run(overlays.classify(File(STDIN, named=True, data=png())))

    assert tmp_path / "out/stdin.png" == result.overlay


@pytest.mark.parametrize(
    "source", [FakeSource(None), FakeSource(None, Trouble("broken", "It is broken."))]
)
def test_without_a_place_nothing_is_drawn(photos, tmp_path, source):
    """A failure, and a model that says nothing, are passed on."""
    overlays = Overlays(source, Places(tmp_path / "out", [photos]), DECODER)
    result = asyncio.run(overlays.classify(File(photos / "a.png")))

    assert (None, source.trouble) == (result.overlay, result.trouble)
    assert not (tmp_path / "out").exists()


def test_a_photo_that_changed_meanwhile_is_a_trouble(photos, tmp_path):
    """It was classified, and cannot be drawn any more: the next one is."""
    (photos / "a.png").write_bytes(png()[:60])
    overlays = Overlays(FakeSource(), Places(tmp_path / "out", [photos]), DECODER)
    broken = asyncio.run(overlays.classify(File(photos / "a.png")))
    gone = asyncio.run(overlays.classify(File(photos / "gone.png")))

    assert ["The image is damaged", "cannot be read (No such file or directory)"] == [
        one.trouble and one.trouble.kind for one in (broken, gone)
    ]


def test_a_name_that_is_too_long_is_the_trouble_of_one_photo(photos, tmp_path):
    """`.png` makes it longer than a file system allows: the others are drawn."""
    long = photos / f"{'x' * 250}.png"
    long.write_bytes(png())
    overlays = Overlays(FakeSource(), Places(tmp_path / "out", [photos]), DECODER)
    first = asyncio.run(overlays.classify(File(long)))
    second = asyncio.run(overlays.classify(File(photos / "a.png")))

    assert first.trouble is not None
    assert "name too long" == first.trouble.kind
    assert tmp_path / "out/a.png.png" == second.overlay


def test_a_folder_that_cannot_be_written_ends_it(photos, tmp_path):
    """All others would fail as well."""
    (tmp_path / "out").write_bytes(b"a file")
    overlays = Overlays(FakeSource(), Places(tmp_path / "out", [photos]), DECODER)

    with pytest.raises(SetupError, match=r"--output: .* cannot be written"):
        asyncio.run(overlays.classify(File(photos / "a.png")))
