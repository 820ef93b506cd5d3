"""What a launcher starts in each process: ``accelerate launch --module training.launch.worker RUN``, torchrun alike."""

from __future__ import annotations

import sys

from assistant.commands.registry import run
from assistant.interrupts import listen

if __name__ == "__main__":
    listen()
    sys.exit(run(["train", "resume", *sys.argv[1:]]))
