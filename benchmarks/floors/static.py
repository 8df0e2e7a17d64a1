"""
The floor of an HTTP answer: the same server, TLS and process, and an application that answers at once.

Arguments: the folder with the certificates, the status, the length of the body.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ibt.service import server
from ibt.service.metrics import Metrics


class Static:
    """Answers every request with the same bytes, and knows nothing else."""

    def __init__(self, *_: Any) -> None:
        self.metrics = Metrics()
        status, length = int(sys.argv[2]), int(sys.argv[3])
        headers = [(b"content-type", b"application/xml"), (b"content-length", str(length).encode())]
        self.start = {"type": "http.response.start", "status": status, "headers": headers if status == 200 else []}
        self.body = {"type": "http.response.body", "body": b"x" * (length if status == 200 else 0)}

    async def __call__(self, _scope: Any, _receive: Any, send: Any) -> None:
        await send(self.start)
        await send(self.body)

    def close(self) -> None:
        """Nothing to end."""


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    server.Application = Static  # type: ignore[misc,assignment]  # the floor stands where the service would
    listener = server.listen("127.0.0.1", 0)
    settings = server.Settings("sqlite:////dev/null", folder / "server.pem", folder / "ca.pem")
    server.serve(listener, settings, lambda: print(f"ready {listener.getsockname()[1]}", flush=True))
