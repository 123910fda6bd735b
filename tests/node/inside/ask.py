"""One request to the egress plane with any credential. Prints JSON: its status, and why it was refused.

Argument: {"path", "body", "token", "headers"}; without a token, the pod's own identity; with an empty one, none.
"""

import http.client
import json
import sys
from pathlib import Path

EGRESS = "egress.agentsession.internal"
OWN = Path("/tmp/identity/token")  # noqa: S108


def main() -> None:
    """Ask, once."""
    asked = json.loads(sys.argv[1])
    token = OWN.read_text() if asked["token"] is None else asked["token"]
    headers = {"Content-Type": "application/json", "anthropic-version": "2023-06-01", **asked["headers"]}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    connection = http.client.HTTPConnection(EGRESS, 8080, timeout=20)
    connection.request("POST", asked["path"], json.dumps(asked["body"]), headers)
    answer = connection.getresponse()
    told = json.loads(answer.read())
    json.dump({"status": answer.status, "why": "" if answer.status == 200 else told["error"]["message"]}, sys.stdout)


main()
