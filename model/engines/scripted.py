"""An HTTP server that plays a script instead of running a model, for demonstrations and tests.

    python -m model.engines.scripted SCRIPT.jsonl --port 8000

It speaks enough of vLLM's protocol for every engine of this package: streamed and whole completions, with `n` choices
if asked (a line each, the first again where there are no more), chat completions, the list of models, and /tokenize.
A script is a JSONL file of `model.engines.script.ScriptLine`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import socketserver
import sys
import threading
import zlib
from collections.abc import Callable, Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from model.engines.script import Script, ScriptLine, common_prefix, read_script, words
from model.engines.scripted_replies import (
    Exchange,
    asked_prompt,
    chat_events,
    completion_events,
    whole_chat,
    whole_completion,
)

_MOST_CHOICES = 128
"""Choices in one reply, as vLLM's limits go; our choice."""
Decode = Callable[[list[int]], str]
Route = Callable[[dict[str, Any] | None], Any]
"""What answers a path: takes the body, None of a GET, and returns text, or an object for JSON; None is no answer."""
_PAGE = b"<!DOCTYPE html><html><title>Welcome</title><body>This is a web page.</body></html>"


class ScriptedServer:
    """The server, in a thread of this process; a context manager, plain or asynchronous.

    `dialect` is the one in which the model answers on /v1/completions; `reasoning_field` names the chat field for
    thoughts, None stands for a server that leaves KAT's text as it is; `decode` turns token-id prompts into text, and
    `program` is what it says that it is. `routes` are other paths that it serves, or the same otherwise.
    `requests` holds the body of every completion asked for, `headers` what came with it.
    """

    def __init__(
        self,
        script: Path | Iterable[ScriptLine | Mapping[str, Any]],
        *,
        port: int = 0,
        uds: Path | str | None = None,
        model: str = "scripted-kat-v1",
        dialect: str = "kat",
        reasoning_field: str | None = "reasoning",
        api_key: str | None = None,
        completions: bool = True,
        tokenize: bool = True,
        context: int = 131_072,
        delay: float = 0.0,
        chunk: int = 20,
        decode: Decode | None = None,
        program: str = "scripted",
        routes: Mapping[str, Route] | None = None,
    ) -> None:
        self.script = Script(read_script(script) if isinstance(script, Path) else script)
        self.model, self.dialect, self.reasoning_field, self.api_key = model, dialect, reasoning_field, api_key
        self.completions, self.tokenize, self.context = completions, tokenize, context
        self.delay, self.chunk, self.decode, self.program = delay, chunk, decode, program
        self.routes = dict(routes or {})
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.dropped = 0
        self.stopping = threading.Event()
        self._uds = Path(uds) if uds else None
        self._port = port
        self._server: socketserver.BaseServer | None = None
        self._last_words: list[str] = []

    @property
    def url(self) -> str:
        """What an engine is given to reach the server."""
        if self._uds:
            return f"unix:{self._uds}"
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Listen. Raises OSError if the port or path is taken."""
        if self._uds:
            self._server = _UnixServer(self, str(self._uds))
        else:
            tcp = _TcpServer(self, ("127.0.0.1", self._port))
            self._server, self._port = tcp, tcp.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), name="scripted", daemon=True).start()

    def stop(self) -> None:
        """Stop listening; replies under way are cut."""
        self.stopping.set()
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        if self._uds:
            self._uds.unlink(missing_ok=True)

    def counted(self, prompt: str) -> tuple[int, int]:
        """Words of the prompt, and how many of them it shares with the prompt before."""
        now = words(prompt)
        shared, self._last_words = common_prefix(now, self._last_words), now
        return len(now), shared

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)


_BACKLOG = 256
"""Connections that may wait to be taken; with Python's 5, the sixth of a burst waits a second and tries again."""


class _TcpServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = _BACKLOG

    def __init__(self, owner: ScriptedServer, address: tuple[str, int]) -> None:
        self.owner = owner
        super().__init__(address, _TcpHandler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error of ours."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = _BACKLOG

    def __init__(self, owner: ScriptedServer, path: str) -> None:
        self.owner = owner
        super().__init__(path, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error of ours."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "scripted"

    @property
    def owner(self) -> ScriptedServer:
        return cast("_TcpServer | _UnixServer", self.server).owner

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing: the terminal may belong to somebody else."""

    def address_string(self) -> str:
        """A Unix socket has no address."""
        return "local"

    def do_GET(self) -> None:
        """The list of models."""
        if not self._allowed() or self._routed(None):
            return
        if self.path != "/v1/models":
            self._error(404, f"there is no {self.path} here")
            return
        owner = self.owner
        model = {"id": owner.model, "object": "model", "owned_by": owner.program, "max_model_len": owner.context}
        self._json(200, {"object": "list", "data": [model]})

    def do_POST(self) -> None:
        """Completions and /tokenize."""
        body = self._body()
        if body is None or not self._allowed() or self._routed(body):
            return
        match self.path:
            case "/v1/completions" if self.owner.completions:
                self._complete(body, chat=False)
            case "/v1/chat/completions":
                self._complete(body, chat=True)
            case "/tokenize" if self.owner.tokenize:
                found = words(str(body.get("prompt", body.get("content", ""))))
                tokens = [zlib.crc32(word.encode()) & 0xFFFF for word in found]
                self._json(200, {"count": len(found), "max_model_len": self.owner.context, "tokens": tokens})
            case _:
                self._error(404, f"there is no {self.path} here")

    def _routed(self, body: dict[str, Any] | None) -> bool:
        """Answer by a route of its own, if the path has one that answers."""
        route = self.owner.routes.get(self.path)
        answer = route(body) if route else None
        if isinstance(answer, str):
            self._send(200, "text/plain; charset=utf-8", answer.encode())
        elif answer is not None:
            self._json(200, answer)
        return answer is not None

    def _body(self) -> dict[str, Any] | None:
        try:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        except ValueError:
            body = None
        if not isinstance(body, dict):
            self._error(400, "the body must be a JSON object")
            return None
        return body

    def _allowed(self) -> bool:
        if self.owner.api_key and self.headers.get("Authorization") != f"Bearer {self.owner.api_key}":
            self._error(401, "Unauthorized")
            return False
        return True

    def _complete(self, body: dict[str, Any], *, chat: bool) -> None:
        owner, wanted = self.owner, "messages" if chat else "prompt"
        if wanted not in body:
            self._error(400, f"{wanted} is missing")
            return
        owner.requests.append(body)
        owner.headers.append(dict(self.headers))
        prompt = asked_prompt(body, owner.decode)
        asked, size = body.get("max_tokens") or 0, len(words(prompt))
        if size + asked > owner.context:
            self._error(400, f"the context is {owner.context} tokens; {size} with {asked} for the reply are too many")
            return
        line = owner.script.take(prompt)
        if line is None:
            headers = {"x-should-retry": "false"}
            self._error(500, "the script has no line left that fits this prompt: add one", headers)
        elif not owner.stopping.wait(owner.delay + line.delay):
            self._play(line, Exchange(body, prompt, *owner.counted(prompt), owner.model, owner.dialect), chat=chat)

    def _play(self, line: ScriptLine, exchange: Exchange, *, chat: bool) -> None:
        if line.html:
            self._send(line.status, "text/html", _PAGE)
        elif line.status != 200:
            headers = {} if line.retry_after is None else {"Retry-After": f"{line.retry_after:g}"}
            default = {"error": {"message": f"scripted error {line.status}", "code": line.status}}
            self._json(line.status, default if line.body is None else line.body, headers)
        elif line.raw is not None:
            self._stream(line, [line.raw.encode("latin-1")])
        elif chat:
            self._chat(line, exchange)
        else:
            lines = [line, *self._more(exchange, line)]
            if exchange.body.get("stream"):
                self._stream(line, completion_events(exchange, lines, line.chunk or self.owner.chunk))
            else:
                self._json(200, whole_completion(exchange, lines))

    def _chat(self, line: ScriptLine, exchange: Exchange) -> None:
        field = self.owner.reasoning_field
        if exchange.body.get("stream"):
            self._stream(line, chat_events(exchange, line, field, line.chunk or self.owner.chunk))
        else:
            self._json(200, whole_chat(exchange, line, field))

    def _more(self, exchange: Exchange, line: ScriptLine) -> list[ScriptLine]:
        """A line for each further choice that is asked for; the first one's again where the script has no more."""
        asked = exchange.body.get("n")
        count = min(asked, _MOST_CHOICES) - 1 if isinstance(asked, int) else 0
        return [self.owner.script.take(exchange.prompt) or line for _ in range(count)]

    def _stream(self, line: ScriptLine, events: Iterable[bytes]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            for index, event in enumerate(events):
                if index and self.owner.stopping.wait(line.pause):
                    return
                self._write(event, line.wire or max(1, len(event)))
            if line.cut_after is None:
                self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.owner.dropped += 1

    def _write(self, event: bytes, size: int) -> None:
        for start in range(0, len(event), size):
            part = event[start : start + size]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))

    def _error(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        self._json(status, {"error": {"message": message, "code": status}}, headers)

    def _json(self, status: int, data: Any, headers: Mapping[str, str] | None = None) -> None:
        text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
        self._send(status, "application/json", text.encode(), headers)

    def _send(self, status: int, kind: str, data: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(data)


class _TcpHandler(_Handler):
    disable_nagle_algorithm = True


def main(arguments: list[str] | None = None) -> int:
    """Serve a script until interrupted. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m model.engines.scripted", description="Play a script of replies.")
    parser.add_argument("script", type=Path)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--uds", type=Path)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each reply")
    parser.add_argument("--chunk", type=int, default=20, help="characters in an event")
    parser.add_argument("--model", default="scripted-kat-v1")
    given = parser.parse_args(arguments)
    try:
        server = ScriptedServer(
            given.script, port=given.port, uds=given.uds, delay=given.delay, chunk=given.chunk, model=given.model
        )
        server.start()
    except (OSError, ValueError) as error:
        sys.stderr.write(f"cannot play {given.script}: {error}\n")
        return 2
    sys.stdout.write(f"{server.url}\n")
    sys.stdout.flush()
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()
    server.stop()
    return 130


if __name__ == "__main__":
    sys.exit(main())
