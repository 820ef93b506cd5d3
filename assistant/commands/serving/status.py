"""What `kat serve status` prints."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

from assistant.errors import Exit
from assistant.safety.sanitize import sanitize
from model.serving.supervision.running import servers
from model.serving.supervision.status import StatusRow, status_rows, table, watch_rows


async def show(folder: Path, *, watch: bool, as_json: bool) -> int:
    """Print the rows once, or again and again."""
    if not watch:
        _print(await status_rows(servers(folder)), as_json=as_json)
        return Exit.DONE
    async with aclosing(watch_rows(lambda: servers(folder))) as readings:
        async for rows in readings:
            _print(rows, as_json=as_json)
    return Exit.DONE


def _print(rows: Sequence[StatusRow], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([row.as_json() for row in rows]), flush=True)
    elif not rows:
        print("Nothing is served; `kat serve MODEL` starts a server.", flush=True)
    else:
        print(*map(sanitize, table(rows, time.time())), sep="\n", flush=True)
