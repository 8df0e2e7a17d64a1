"""
The floor of an HTTP answer: the same server, TLS and processes, and an application that answers at once.

Arguments: the folder with the certificates and the database, the status, the length of the body, how many processes,
and `as-any`, by a task for each request as any ASGI application has it; or `at-once`, by the short way that the
service has for what takes no longer than to hand it to a thread.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ibt.service import server
from ibt.service.app import Application


class Static(Application):
    """Answers every request with the same bytes, and looks at nothing."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.status, length = int(sys.argv[2]), int(sys.argv[3])
        self.content = b"x" * (length if self.status == 200 else 0)
        fields = [(b"content-type", b"application/xml"), (b"content-length", str(length).encode())]
        self.fields = fields if self.status == 200 else []
        self.short_way = sys.argv[5] == "at-once"

    def at_once(self, _request: Any, send: Any) -> bool:
        """Answers, if it is to go the short way."""
        if self.short_way:
            send(self.status, self.fields, self.content)
        return self.short_way

    async def __call__(self, _scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": self.fields})
        await send({"type": "http.response.body", "body": self.content})


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    server.Application = Static  # type: ignore[attr-defined]  # the floor stands where the service would
    listener = server.listen("127.0.0.1", 0)
    settings = server.Settings(
        f"sqlite:///{folder / 'floor.db'}", folder / "server.pem", folder / "ca.pem", workers=int(sys.argv[4])
    )
    server.serve(listener, settings, lambda: print(f"ready {listener.getsockname()[1]}", flush=True))
