"""The file of API keys, read again when it changes; the test looks at it in place of the clock."""

import asyncio
import os
import threading
from pathlib import Path

import pytest

from app.service.key_file import KeyFile
from app.web.keys import Keys, make_key

(ALICE, ALICES), (BOB, BOBS) = make_key("alice"), make_key("bob")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "keys"
    path.write_text(f"{ALICES}\n{BOBS}\n")
    return path


def holders(keys: Keys) -> list[str]:
    return [name for key in (ALICE, BOB) if (name := keys.holder(key.encode()))]


def looked(key_file: KeyFile, times: int = 2) -> None:
    for _ in range(times):
        key_file.look()


def replace(file: Path, text: str) -> None:
    new = file.with_name("new")
    new.write_text(text)
    new.replace(file)


@pytest.mark.parametrize("write", [Path.write_text, replace])
def test_a_removed_key_is_refused_after_two_looks(file, write):
    """The first look sees a change, the second one that it is over, in place or by a new file."""
    keys = Keys(file)
    key_file = KeyFile(keys)
    write(file, f"{BOBS}\n")
    key_file.look()
    after_one = holders(keys)
    key_file.look()

    assert ["alice", "bob"] == after_one
    assert ["bob"] == holders(keys)


def test_an_empty_file_refuses_everyone_and_is_warned_of(file, caplog):
    """Whoever takes the last key away means it; whoever did not reads why nobody gets in."""
    keys = Keys(file)
    key_file = KeyFile(keys)
    file.write_text("# nobody\n")
    looked(key_file)

    assert [] == holders(keys)
    assert ["the file of API keys is empty: everyone is refused until it has a key"] == [
        record.message for record in caplog.records if record.levelname == "WARNING"
    ]


def test_a_pipe_is_read_once(tmp_path):
    """`<(command)` of a shell gives the keys at the start; nobody waits for a writer afterwards."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(f"{ALICES}\n",))
    writer.start()
    keys = Keys(pipe)
    writer.join()
    key_file = KeyFile(keys)
    looked(key_file, 5)
    key_file.read()  # at SIGHUP

    assert ["alice"] == holders(keys)


def test_a_file_that_becomes_a_pipe_changes_nothing(file, caplog):
    """The service does not hang: it keeps the previous keys, and says so."""
    keys = Keys(file)
    key_file = KeyFile(keys)
    file.unlink()
    os.mkfifo(file)
    looked(key_file)

    assert ["alice", "bob"] == holders(keys)
    assert "no regular file" in caplog.text


def test_a_change_of_the_same_length_and_time_is_seen(file):
    """A copy that keeps the time of another file is a change, too."""
    keys = Keys(file)
    key_file = KeyFile(keys)
    before = file.stat()
    replace(file, f"{ALICES}\n{BOBS.replace('bob', 'eve')}\n")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    looked(key_file)

    assert ["alice", "eve"] == holders(keys)


def test_a_mounted_secret_is_followed(tmp_path):
    """Kubernetes replaces the link ..data; the path itself stays the same link."""
    for version, line in (("1", ALICES), ("2", BOBS)):
        (tmp_path / version).mkdir()
        (tmp_path / version / "keys").write_text(f"{line}\n")
    (tmp_path / "..data").symlink_to("1")
    path = tmp_path / "keys"
    path.symlink_to("..data/keys")
    keys = Keys(path)
    key_file = KeyFile(keys)
    (tmp_path / "..data_tmp").symlink_to("2")
    (tmp_path / "..data_tmp").replace(tmp_path / "..data")
    looked(key_file)

    assert ["bob"] == holders(keys)


@pytest.mark.parametrize(
    "broken", ["alice sha256:12\n", "\x00" * 10, f"{ALICES}\n{ALICES}\n", None]
)
def test_a_broken_file_keeps_the_keys_and_is_logged_once(file, caplog, broken):
    """A file that is malformed or gone changes nothing; a good one after it does."""
    keys = Keys(file)
    key_file = KeyFile(keys)
    file.unlink() if broken is None else file.write_text(broken)
    looked(key_file, 10)
    kept = holders(keys)
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    file.write_text(f"{BOBS}\n")
    looked(key_file)

    assert ["alice", "bob"] == kept
    assert 1 == len(errors)
    assert "keeping the previous keys" in errors[0].message
    assert ["bob"] == holders(keys)


def test_a_file_that_is_being_written_is_not_read(file):
    """An editor that has emptied the file locks nobody out."""
    keys = Keys(file)
    key_file = KeyFile(keys)
    file.write_text("")
    key_file.look()
    file.write_text(f"{BOBS}\n")
    key_file.look()
    meanwhile = holders(keys)
    key_file.look()

    assert ["alice", "bob"] == meanwhile
    assert ["bob"] == holders(keys)


def test_a_file_that_never_rests_is_read_all_the_same(file):
    """Four looks, 4 s, are the longest that a removed key stays valid."""
    keys = Keys(file)
    key_file = KeyFile(keys)
    for number in range(4):
        file.write_text(f"{BOBS}\n{'#' * number}\n")
        key_file.look()

    assert ["bob"] == holders(keys)


def test_a_signal_reads_at_once_and_the_next_look_does_not(file, caplog):
    """SIGHUP needs no second look, and what it read is not read again."""
    caplog.set_level("INFO")
    calls = []
    keys = Keys(file)
    key_file = KeyFile(keys, lambda: calls.append(holders(keys)))
    file.write_text(f"{BOBS}\n")
    key_file.read()
    looked(key_file, 5)

    assert [["bob"]] == calls
    assert ["1 API keys loaded"] == caplog.messages


def test_it_looks_every_second(file, turned):
    """A watch that runs for 3 s has read a change."""
    keys = Keys(file)

    async def main():
        watch = asyncio.create_task(KeyFile(keys).watch())
        await asyncio.sleep(0)
        file.write_text(f"{BOBS}\n")
        await asyncio.sleep(2.5)
        watch.cancel()

    turned(main())

    assert ["bob"] == holders(keys)
