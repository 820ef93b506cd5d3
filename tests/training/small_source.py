"""A small source with tests, profiled once for all who need one."""

import textwrap

from training.data.schema import Source

FILES = {
    "shop.py": """
        def total(prices, free=0):
            if not prices:
                return 0
            return sum(prices) - free


        def cheapest(prices):
            return min(prices) if prices else None


        def label(name):
            return "<" + name.strip() + ">"


        def unused(a):
            return a + 1
    """,
    "test_shop.py": """
        import shop

        SEEN = []

        def test_total():
            SEEN.append("total")
            assert shop.total([1, 2]) == 3

        def test_free():
            assert shop.total([1, 2], 1) == 2

        def test_cheapest():
            assert shop.cheapest([2, 1]) == 1

        def test_label_in_order():
            assert SEEN and shop.label(" a ") == "<a>"
    """,
}


TEST = "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 python -m pytest -q -c /dev/null --rootdir=."
"""As it would be found, but for plugins of this machine, which only take time."""


def small_source(folder):
    """The files, in a folder; a source that knows its name and how its tests run."""
    root = folder / "shop"
    root.mkdir()
    for name, text in FILES.items():
        (root / name).write_text(textwrap.dedent(text).lstrip())
    return Source("shop", str(root), "", licence="MIT", test=TEST)
