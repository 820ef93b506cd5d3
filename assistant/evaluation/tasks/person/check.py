"""Whether the reply is the JSON that was asked for, in a code block or without."""

import json
import re
import sys

text = re.sub(r"^```\w*\n|\n?```$", "", sys.stdin.read().strip())
try:
    found = json.loads(text)
except ValueError as error:
    sys.exit(f"no JSON: {error}")
sys.exit(0 if found == {"name": "Ada", "age": 36} else "other values")
