"""What field a piece of code belongs to: a small table of modules and words, our choice."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

GENERAL = "general"
"""Where nothing in the table is found."""
_WORD = re.compile(r"[a-z]{2,}")
_IMPORT = re.compile(r"^\s*(?:from|import)\s+([A-Za-z_]\w*)", re.MULTILINE)
_PATH, _IMPORTED, _FEWEST = 3, 4, 2
"""What a word in the path and an imported module weigh against a word in the text, and the least weight that counts."""

DOMAINS: Mapping[str, str] = {
    "numbers": "math cmath decimal fractions statistics numpy random matrix vector float integer sum mean prime ratio",
    "text": "re string textwrap difflib unicodedata text word words char case plural singular strip split regex",
    "dates": "datetime time calendar zoneinfo dateutil date day month year week hour minute second timezone timedelta",
    "collections": "collections itertools heapq bisect iterable iterator list dict set queue sorted index chunk window",
    "functions": "functools operator inspect partial curry compose decorator wrapper callable memoize",
    "files": "os pathlib shutil tempfile glob zipfile tarfile path file folder directory filename extension",
    "parsing": "ast tokenize json csv xml html tomllib configparser yaml parse parser token tokenizer lexer grammar",
    "network": "socket http urllib requests httpx ssl url request response header cookie port host client server",
    "storage": "sqlite3 sqlalchemy pickle shelve dbm database query table row column transaction cache",
    "concurrency": "asyncio threading multiprocessing concurrent queue lock thread process await future semaphore",
    "command line": "argparse click typer optparse getopt shlex option argument flag stdout stderr terminal prompt",
    "types": "typing dataclasses enum abc attr attrs pydantic schema annotation protocol generic field validate",
    "security": "hashlib hmac secrets ssl crypt hash token password digest signature encrypt decrypt permission",
    "testing": "unittest pytest mock doctest fixture assert coverage hypothesis",
    "formatting": "pprint locale format width align pad humanize ordinal natural suffix unit bytes",
}
_DOMAIN_OF: Mapping[str, tuple[str, ...]] = {
    word: tuple(name for name, words in DOMAINS.items() if word in words.split())
    for words in DOMAINS.values()
    for word in words.split()
}


def domain_of(path: str, text: str) -> str:
    """The domain that most in a path and a text speaks for, by the order of the table where several do."""
    found: Counter[str] = Counter()
    for word in _WORD.findall(path.lower()):
        found.update(dict.fromkeys((*_domains(word), *_domains(word.removesuffix("s"))), _PATH))
    for module in set(_IMPORT.findall(text)):
        found.update(dict.fromkeys(_domains(module), _IMPORTED))
    for word in _DOMAIN_OF.keys() & set(_WORD.findall(text.lower())):
        found.update(_domains(word))
    best = max(DOMAINS, key=lambda name: found[name])
    return best if found[best] >= _FEWEST else GENERAL


def _domains(word: str) -> tuple[str, ...]:
    return _DOMAIN_OF.get(word, ())
