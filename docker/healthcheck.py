"""Exit with 0 if the service in this container is ready; otherwise print why not and exit with 1."""

import os
import sys
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException

PORT = int(os.environ["VGG_PORT"])
PATIENCE = 4
"""Seconds; Docker ends the health check after 5."""

# Unlike urllib, this ignores the proxies of the environment.
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
