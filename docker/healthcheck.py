"""Exits with 0 if the service of this container is ready, and says why if it is not."""

import os
import sys
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException

PORT = int(os.environ["VGG_PORT"])
PATIENCE = 4
"""Seconds; the health check of the image gives up after 5."""

# Unlike urllib this asks the port itself, whatever the environment says about ways out.
connection = HTTPConnection("127.0.0.1", PORT, timeout=PATIENCE)
try:
    connection.request("GET", "/readyz")
    answer = connection.getresponse()
    text = answer.read().decode()
except (OSError, HTTPException) as error:
    sys.exit(f"http://127.0.0.1:{PORT}/readyz: {error}")
if answer.status != HTTPStatus.OK:
    sys.exit(text)
sys.stdout.write(f"{text}\n")
