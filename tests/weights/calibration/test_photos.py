"""Any folder gives photos to calibrate with, a bounded number of them, or a sentence that says what to do."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.records import Preprocess
from app.setup_errors import CalibrationError
from app.weights.calibration.photos import MOST_PHOTOS, find_photos
from tests.conftest import REPOSITORY

SIDE = 32
PREPROCESS = Preprocess(40, SIDE, "RGB", (128, 128, 128), (64, 64, 64))
SAMPLES = sorted((REPOSITORY / "app/web/page/static/samples").glob("*.jpg"))


def photo(path: Path, seed: int = 0, side: int = 48) -> Path:
    """Write a small photo; each seed has its own pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_without_a_folder_the_samples_are_used():
    """Several views of each are seen, some are held back, and the source says how many photos there are."""
    files = find_photos(None, SAMPLES)
    photos, held_back = files.read(PREPROCESS)

    assert ("6 built-in samples", tuple(SAMPLES)) == (files.source, files.paths)
    assert (files.source, (SIDE, SIDE, 3)) == (photos.source, photos.images.shape[1:])
    assert len(held_back) == (len(photos.images) + len(held_back)) // 5
    assert len(photos.images) > 50


def test_photos_of_a_folder(tmp_path):
    """Photos are found at any depth; whatever is hidden, no photo, a pipe or too large is passed over."""
    wanted = [photo(tmp_path / name, seed) for seed, name in enumerate(("a.png", "b/c.jpg", "z"), 1)
              if name != "z"]  # fmt: skip
    photo(tmp_path / ".hidden.png")
    photo(tmp_path / ".folder/d.png")
    (tmp_path / "notes.txt").write_text("no photo")
    (tmp_path / "empty.jpg").touch()
    os.mkfifo(tmp_path / "pipe.jpg")
    with photo(tmp_path / "large.png").open("ab") as large:
        large.truncate(25_000_001)

    files = find_photos(tmp_path, SAMPLES)

    assert sorted(wanted) == list(files.paths)
    assert "2 photos of a folder" == files.source


def test_a_few_photos_are_seen_in_several_views_and_many_once(tmp_path):
    """63 photos give more images than photos, 64 give one each, of which every fifth is held back."""
    for seed in range(63):
        photo(tmp_path / f"{seed}.png", seed)
    few, held_of_few = find_photos(tmp_path, SAMPLES).read(PREPROCESS)
    photo(tmp_path / "63.png", 63)
    many, held_of_many = find_photos(tmp_path, SAMPLES).read(PREPROCESS)

    assert len(few.images) + len(held_of_few) > 126
    assert (52, 12) == (len(many.images), len(held_of_many))


def test_held_back_images_are_no_calibration_images(tmp_path):
    """No image is in both sets."""
    for seed in range(64):
        photo(tmp_path / f"{seed}.png", seed)
    photos, held_back = find_photos(tmp_path, SAMPLES).read(PREPROCESS)

    assert not {one.tobytes() for one in photos.images} & {one.tobytes() for one in held_back}


def test_thousands_of_photos_are_bounded(tmp_path):
    """Of more than enough, some are taken from the whole of the sorted list."""
    content = photo(tmp_path / "0000.png").read_bytes()
    for number in range(1, 3 * MOST_PHOTOS):
        (tmp_path / f"{number:04}.png").write_bytes(content)

    files = find_photos(tmp_path, SAMPLES)

    assert [f"{number:04}.png" for number in range(0, 3 * MOST_PHOTOS, 3)] == [
        path.name for path in files.paths
    ]
    assert f"{MOST_PHOTOS} of {3 * MOST_PHOTOS} photos of a folder" == files.source


def test_the_digest_is_of_the_photos_alone(tmp_path):
    """It is the same after a photo was renamed in its place, and another after a bit of one changed."""
    first, second = photo(tmp_path / "a.png", 1), photo(tmp_path / "b.png", 2)
    before = find_photos(tmp_path, SAMPLES).digest
    second.rename(tmp_path / "c.png")
    renamed = find_photos(tmp_path, SAMPLES).digest
    photo(first, 3)

    assert before == renamed
    assert before != find_photos(tmp_path, SAMPLES).digest
    assert re.fullmatch("[0-9a-f]{64}", before)


def test_a_damaged_photo_is_left_out(tmp_path, caplog):
    """It is counted and named in the log, and the others are used."""
    photo(tmp_path / "good.png")
    (tmp_path / "bad.jpg").write_bytes(SAMPLES[0].read_bytes()[:2000])

    photos, _ = find_photos(tmp_path, SAMPLES).read(PREPROCESS)

    assert len(photos.images) > 0
    assert "2 photos of a folder (1 of them left out)" == photos.source
    assert "cannot be decoded are left out: 1 of 2" in caplog.text
    assert f"such as {tmp_path / 'bad.jpg'}: " in caplog.text


def test_nothing_but_damaged_photos(tmp_path):
    """The sentence names one, says what is wrong with it, and what to do."""
    (tmp_path / "bad.jpg").write_bytes(SAMPLES[0].read_bytes()[:2000])
    files = find_photos(tmp_path, SAMPLES)

    with pytest.raises(CalibrationError, match=r"None of .*bad\.jpg: .* VGG_CALIBRATION_DIR"):
        files.read(PREPROCESS)


def test_a_photo_that_is_gone(tmp_path):
    """A photo that was deleted meanwhile is left out, too."""
    gone, _ = photo(tmp_path / "a.png", 1), photo(tmp_path / "b.png", 2)
    files = find_photos(tmp_path, SAMPLES)
    gone.unlink()

    photos, held_back = files.read(PREPROCESS)

    assert len(photos.images) + len(held_back) > 0


@pytest.mark.parametrize("kind", ["missing", "file", "empty", "no photo", "locked"])
def test_folder_that_is_of_no_use(tmp_path, kind):
    """The sentence names the folder and what to do."""
    folder = tmp_path / "photos"
    if kind == "file":
        photo(tmp_path / "photo.png").rename(folder)
    elif kind != "missing":
        folder.mkdir()
    if kind == "no photo":
        (folder / "notes.txt").write_text("no photo")
    if kind == "locked":
        if os.geteuid() == 0:
            pytest.skip("root may read everything")
        folder.chmod(0)

    with pytest.raises(CalibrationError, match="Name a folder of some 100 photos") as caught:
        find_photos(folder, SAMPLES)

    assert str(folder) in str(caught.value)
