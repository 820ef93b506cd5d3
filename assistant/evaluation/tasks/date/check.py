"""Whether the reply is a regular expression for dates."""

import re
import sys

text = re.sub(r"^```\w*\n|\n?```$", "", sys.stdin.read().strip()).strip().strip("`")
text = re.sub(r"""^r?(["'])(.*)\1$""", r"\2", text)
try:
    pattern = re.compile(text)
except re.error as error:
    sys.exit(f"no regular expression: {error}")
good = ("2024-05-17", "1999-12-31")
bad = ("2024-5-17", "20240517", "2024-05-1", "24-05-17", "2024/05/17", "")
if any(pattern.fullmatch(date) is None for date in good) or any(pattern.fullmatch(date) for date in bad):
    sys.exit("it does not tell dates from other texts")
sys.exit(0)
