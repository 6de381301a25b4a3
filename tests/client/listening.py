"""A server on a real socket that does what a test says."""

import socket
import threading
from contextlib import contextmanager, suppress


@contextmanager
def listening(serve):
    """Run `serve(connection)` for each connection; give the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, suppress(OSError):  # a client may go away
                    serve(connection)

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
