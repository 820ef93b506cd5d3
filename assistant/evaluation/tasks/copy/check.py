"""Whether the reply says banana, and nothing much besides."""

import re
import sys

reply = sys.stdin.read()
found = re.search(r"\bbanana\b", reply, re.IGNORECASE) is not None and len(reply.split()) <= 4
sys.exit(0 if found else "banana is not what it says")
