"""The plugin by which vLLM reads KAT's replies: `--reasoning-parser kat --tool-call-parser kat`.

It is an entry point of the group `vllm.general_plugins`, so every process of every vLLM in this environment calls
`register`, whatever model it serves: it only leaves names behind, and must never raise.
"""

from __future__ import annotations

import logging

NAME = "kat"
"""What `--reasoning-parser` and `--tool-call-parser` take."""
PARSERS = "model.serving.plugin_parsers"


def register() -> None:
    """Tell vLLM where the parsers are; they are imported when a server names them."""
    try:
        from vllm.reasoning import ReasoningParserManager
        from vllm.tool_parsers import ToolParserManager

        ReasoningParserManager.register_lazy_module(NAME, PARSERS, "KatReasoningParser")
        ToolParserManager.register_lazy_module(NAME, PARSERS, "KatToolParser")
    except (ImportError, AttributeError) as error:
        logging.getLogger(__name__).warning("this vLLM cannot take KAT's parsers: %s", error)
