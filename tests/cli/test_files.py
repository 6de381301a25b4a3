"""Which files of a folder are photos, and what is said about the others."""

import os
import socket
import sys
from pathlib import Path

import pytest

from app.cli.files import STDIN, File, TroubleError, count, find_photos, is_photo, open_photo, walk
from tests.conftest import png

JPEG = b"\xff\xd8\xff\xe0" + bytes(60)
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(60)
MP4 = b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + bytes(60)


@pytest.fixture
def put(tmp_path):
    """Write a file and the folders above it."""

    def put(name: str, data: bytes = JPEG) -> Path:
        path = Path(tmp_path, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    return put


def trouble_of(file: File):
    """Return the trouble with a file, which has some."""
    with pytest.raises(TroubleError) as caught:
        open_photo(file)
    return caught.value.trouble


@pytest.mark.parametrize("name", ["a.jfif", "b.JPE", "none", "c.txt", "d.heic", "e.jpg.part"])
def test_a_photo_is_known_by_its_bytes(put, name):
    """Whatever a photo is called, it is one, and it is read from its start."""
    path = put(name)
    with open_photo(File(path)) as opened:
        assert JPEG == opened.read()


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("a.HEIC", HEIC, "HEIC is not supported"),
        ("none", HEIC, "HEIC is not supported"),
        ("b.jpg", HEIC, "HEIC is not supported"),
        ("c.avif", b"\0\0\0\x18ftypavif\0\0\0\0mif1", "AVIF is not supported"),
        ("d.tif", b"II*\0" + bytes(60), "TIFF is not supported"),
        ("e.jxl", b"\xff\x0a" + bytes(60), "JPEG XL is not supported"),
        ("f.NEF", b"MM\0*" + bytes(60), "Camera raw is not supported"),
        ("g.cr3", b"\0\0\0\x18ftypcrx \0\0\0\0isom", "Camera raw is not supported"),
        ("h.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG is not supported"),
        ("text.jpg", b"a text", "not an image"),
        ("page.PNG", b"<!doctype html><p>", "not an image"),
        ("zeros.jpeg", bytes(600), "not an image"),
        ("clip.jfif", MP4, "not an image"),
        ("empty.jpg", b"", "empty"),
    ],
)
def test_a_picture_that_is_not_decoded_fails_by_its_name(put, name, data, kind):
    """Pictures of other formats, and files that only are called like one, are failures."""
    trouble = trouble_of(File(put(name, data)))

    assert (kind, False) == (trouble.kind, trouble.skipped)


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("notes.txt", b"a text", "Plain text"),
        ("page.html", b"<!doctype html><p>", "HTML"),
        ("clip.mov", MP4, "MP4 video"),
        ("archive.zip", b"PK\3\4" + bytes(60), "ZIP"),
        ("data.bin", b"\0\1\2\3", "unknown format"),
        ("empty", b"", "empty"),
    ],
)
def test_what_is_no_picture_is_skipped_in_a_folder_and_fails_by_name(put, name, data, kind):
    """A text beside photos is only counted; a text that is named is a failure."""
    path = put(name, data)
    found, named = trouble_of(File(path)), trouble_of(File(path, named=True))

    assert (kind, True) == (found.kind, found.skipped)
    assert not named.skipped


def test_a_folder_is_walked_in_order(put, tmp_path):
    """Files come sorted by name, folders in their place; hidden and system files are skipped."""
    for name in ("b.jpg", "a/z.jpg", "a/A.jpg", "c/deep/er/x.jpg", ".hidden.jpg", "._b.jpg"):
        put(name)
    for name in (".DS_Store", "Thumbs.db", ".git/x.jpg", "__MACOSX/._b.jpg", "@eaDir/b.jpg"):
        put(name)
    files = [*walk([tmp_path])]

    assert ["a/A.jpg", "a/z.jpg", "b.jpg", "c/deep/er/x.jpg"] == [
        str(file.path.relative_to(tmp_path)) for file in files if file.trouble is None
    ]
    assert ["hidden"] * 7 == [file.trouble.kind for file in files if file.trouble]
    assert all(file.trouble.skipped for file in files if file.trouble)


def test_a_file_that_is_named_is_taken_whatever_it_is_called(put):
    """Only a folder's hidden files are skipped."""
    path = put("._hidden.jpg")

    assert [File(path, named=True)] == [*walk([path])]


def test_links_are_followed_to_files_and_not_to_folders(put, tmp_path):
    """A loop of links ends, and a link to a photo is a photo."""
    put("a.jpg")
    put("deep/b.jpg")
    (tmp_path / "link.jpg").symlink_to("a.jpg")
    (tmp_path / "deep" / "loop").symlink_to("..")
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "gone.jpg").symlink_to("nowhere")
    files = {str(file.path.relative_to(tmp_path)): file.trouble for file in walk([tmp_path])}

    assert {"a.jpg", "deep/b.jpg", "deep/loop", "gone.jpg", "link.jpg", "self"} == set(files)
    assert files["link.jpg"] is None
    kinds = {name: trouble.kind for name, trouble in files.items() if trouble}
    assert "links to folders" == kinds["deep/loop"]
    assert "cannot be read" in kinds["self"]
    assert "cannot be read" in kinds["gone.jpg"]


def test_nothing_but_a_file_is_opened(tmp_path):
    """A pipe would be waited for, for ever: it is skipped in a folder and refused by name."""
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "device.jpg").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket.jpg"))
        files = [*walk([tmp_path])]

    troubles = [trouble_of(file) for file in files]
    assert [("devices, pipes and sockets", True)] * 3 == [(t.kind, t.skipped) for t in troubles]
    for file in files:
        assert trouble_of(File(file.path, named=True)).kind == "not a file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_what_cannot_be_read_is_a_failure(put, tmp_path):
    """A file and a folder without permission are named."""
    put("a.jpg").chmod(0)
    put("closed/b.jpg").parent.chmod(0)
    kinds = [trouble_of(file).kind for file in walk([tmp_path])]

    assert ["cannot be read (Permission denied)"] * 2 == kinds


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_what_fails_while_it_is_read_is_a_failure():
    """A file that opens and cannot be read, as on a broken disk, is named."""
    assert "cannot be read (Input/output error)" == trouble_of(File(Path("/proc/self/mem"))).kind


def test_a_missing_file_is_a_failure(tmp_path):
    """A name that does not exist is told, and does not end the walk."""
    [file] = walk([tmp_path / "none.jpg"])

    assert "cannot be read (No such file or directory)" == trouble_of(file).kind


def test_standard_input_is_a_file():
    """What was piped in is looked at as any other file."""
    with open_photo(File(STDIN, named=True, data=JPEG)) as opened:
        assert JPEG == opened.read()
    assert "empty" == trouble_of(File(STDIN, named=True, data=b"")).kind


def test_a_deep_folder_is_walked(tmp_path):
    """A thousand folders inside each other are no problem for the stack."""
    here = os.open(tmp_path, os.O_RDONLY)
    try:
        for _ in range(300):
            os.mkdir("d", dir_fd=here)
            inner = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = inner
        os.close(os.open("a.jpg", os.O_WRONLY | os.O_CREAT, dir_fd=here))
    finally:
        os.close(here)

    assert 1 == len([*walk([tmp_path])])


def test_files_are_counted_without_a_look(put, tmp_path):
    """The count for the progress is that of the walk, up to hidden folders."""
    for name in ("a.jpg", "b/c.txt", ".git/x", ".hidden"):
        put(name)

    assert 3 == count([tmp_path])
    assert 4 == count([tmp_path, tmp_path / "a.jpg"])


def test_photos_are_found_for_the_benchmark(put, tmp_path):
    """Of a folder the photos, and every file that is named."""
    named = put("notes.txt", b"text")
    photo = put("photo", png())

    assert [photo, named] == find_photos([tmp_path, named])
    assert not is_photo(File(named))
