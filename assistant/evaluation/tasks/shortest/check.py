"""Whether the reply is the word Cleo."""

import sys

words = sys.stdin.read().replace("`", " ").replace('"', " ").replace(".", " ").replace("*", " ").split()
sys.exit(0 if words and words[-1].lower() == "cleo" else "the last word is not Cleo")
