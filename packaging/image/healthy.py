"""The image's health check: status 0 if the proxy in this container answers."""

import http.client
import os
import sys

connection = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("PORT") or 8080), timeout=2)
try:
    connection.request("GET", "/", headers={"Host": "__ping__"})
    sys.exit(connection.getresponse().status != 200)
except OSError as error:
    sys.exit(f"the proxy does not answer: {error}")
