"""Exits with 0 if the service of this container is ready, and says why if it is not."""

import os
import sys
import urllib.error
import urllib.request

URL = f"http://127.0.0.1:{os.environ['VGG_PORT']}/readyz"
PATIENCE = 4
"""Seconds; the health check of the image gives up after 5."""

try:
    with urllib.request.urlopen(URL, timeout=PATIENCE) as answer:
        sys.stdout.write(f"{answer.read().decode()}\n")
except urllib.error.HTTPError as error:
    sys.exit(error.read().decode())
except OSError as error:
    sys.exit(f"{URL}: {error}")
