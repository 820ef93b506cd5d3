"""Whether the reply says Paris, and nothing much besides."""

import re
import sys

reply = sys.stdin.read()
found = re.search(r"\bparis\b", reply, re.IGNORECASE) is not None and len(reply.split()) <= 12
sys.exit(0 if found else "Paris is not what it says")
