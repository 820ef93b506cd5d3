# ruff: noqa: T201
"""A server as vLLM looks from outside: lines on its output, a Unix socket, signals. Run without site, for speed.

python -I -S fake_server.py SOCKET [HOW ...]: `deaf` ignores SIGTERM, `parent` has a child, `fail:LINE` ends at once,
`mute` answers /health with 503 from the second time on. A request of /die ends it. Adapters can be loaded, as vLLM
does it.
"""

import os
import signal
import socket
import sys
import time
from contextlib import suppress

path, *how = sys.argv[1:]
if "deaf" in how:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "parent" in how and os.fork() == 0:
    while True:
        time.sleep(60)
for one in how:
    if one.startswith("fail:"):
        print(f"(EngineCore pid=7) ERROR 11-22 12:00:00 [core.py:1] {one[5:]}")
        sys.exit(1)
print("(EngineCore pid=7) INFO 11-22 12:00:00 [cpu_model_runner.py:68] Starting to load model /m...")
print("Loading safetensors checkpoint shards:  50% Completed | 1/2 [00:01<00:01]", end="\r")
print("INFO 11-22 12:00:01 [kv_cache_utils.py:1] CPU KV cache size: 46,592 tokens", flush=True)


def received(connection):
    """A request with its body."""
    data = b""
    while b"\r\n\r\n" not in data and (more := connection.recv(4096)):
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
    while len(body) < length:
        body += connection.recv(4096)
    return head, body


adapters = []
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()
asked = 0
while True:
    connection, _ = listener.accept()
    request, body = received(connection)
    if b"/die" in request:
        print("RuntimeError: the engine is dead", flush=True)
        os._exit(3)
    if b"POST /v1/load_lora_adapter" in request:
        import json

        asked_for = json.loads(body)
        adapters.append(f', {{"id": "{asked_for["lora_name"]}", "root": "{asked_for["lora_path"]}", "parent": "fake"}}')
    asked += b"/health" in request
    status = b"503 Busy" if "mute" in how and asked > 1 else b"200 OK"
    with suppress(OSError):  # whoever only looked whether somebody listens has gone
        listed = f'{{"data": [{{"id": "fake"}}{"".join(adapters)}]}}'
        connection.sendall(b"HTTP/1.0 " + status + b"\r\nContent-Type: application/json\r\n\r\n" + listed.encode())
    connection.close()
