"""The file of a Unix socket."""

import socket
import stat

import pytest

from app.service.listening import bind_all, is_private, url_of
from app.service.unix_socket import SocketFile
from app.setup_errors import SetupError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "s"


@pytest.mark.parametrize("mode", [0o660, 0o600, 0o777])
def test_its_mode_is_the_one_asked_for(path, mode):
    """The umask of the process does not matter."""
    file = SocketFile(path, mode)
    status = path.stat()
    file.listener.close()

    assert (True, mode) == (stat.S_ISSOCK(status.st_mode), stat.S_IMODE(status.st_mode))


def test_a_file_that_was_left_behind_is_replaced(path):
    """A service that was killed does not keep the next one from starting."""
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    file = SocketFile(path, 0o660)
    file.listener.listen()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    file.listener.close()


def test_the_socket_of_a_living_service_is_left_alone(path):
    """A second service is refused, and the first one still answers."""
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(path))
        living.listen(1)
        with pytest.raises(SetupError, match="another service listens"):
            SocketFile(path, 0o660)
        accepted = [living.accept()[0]]
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            accepted.append(living.accept()[0])
        for one in accepted:
            one.close()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("data", "is no socket"),
        ("folder", "is no socket"),
        ("absent/s", "needs a folder"),
        ("x" * 200, "100 characters"),
    ],
)
def test_what_cannot_be_a_socket_is_an_error(tmp_path, name, sentence):
    """Nothing but a socket is ever removed, and the sentence names the setting and the path."""
    (tmp_path / "data").write_text("precious")
    (tmp_path / "folder").mkdir()
    with pytest.raises(SetupError, match="VGG_UDS") as refused:
        SocketFile(tmp_path / name, 0o660)

    assert sentence in str(refused.value)
    assert str(tmp_path / name) in str(refused.value)
    assert "precious" == (tmp_path / "data").read_text()


def test_a_service_that_does_not_listen_yet_keeps_its_file(path):
    """While its models load, a second service is refused; nothing of that is left when it ends."""
    first = SocketFile(path, 0o660)
    with pytest.raises(SetupError, match="or is about to"):
        SocketFile(path, 0o660)
    first.listener.listen()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    first.remove()
    first.listener.close()
    second = SocketFile(path, 0o660)
    second.remove()
    second.listener.close()


def test_only_its_own_file_is_removed(path):
    """A service that ends late does not remove the socket of the next one."""
    first = SocketFile(path, 0o660)
    first.remove()
    second = SocketFile(path, 0o660)
    first.remove()
    there = path.exists()
    second.remove()
    second.remove()
    first.listener.close()
    second.listener.close()

    assert (True, False) == (there, path.exists())


def test_several_processes_share_one(path):
    """Each of them gets a descriptor of its own, of one socket."""
    sets, let_none_come = bind_all("127.0.0.1", 0, path, 0o660, count=3)
    listeners = [one for [one] in sets]
    described = {(url_of(one), is_private(one)) for one in listeners}
    let_none_come()
    numbers = {one.fileno() for one in listeners}
    for one in listeners:
        one.close()

    assert {(f"unix:{path}", True)} == described
    assert (3, False) == (len(numbers), path.exists())
