"""Whether the last number of the reply is 42."""

import re
import sys

numbers = re.findall(r"-?\d+(?:\.\d+)?", sys.stdin.read().replace(",", ""))
sys.exit(0 if numbers and float(numbers[-1]) == 42 else "the last number is not 42")
