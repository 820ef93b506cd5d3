"""Colours: calm greys, one accent for each way of thinking."""

from __future__ import annotations

from textual.theme import Theme

from model.format import ThinkRequest

VARIABLES = {
    "think-auto": "#8c95a6",
    "think-on": "#e6a95c",
    "think-off": "#5eb8ad",
    "muted": "#8b92a1",
    "faint": "#5a6170",
    "code": "#1c2028",
    "code-text": "#d9b48a",
    "diff-add": "#1b2f27",
    "diff-cut": "#35222a",
    "footer-key-foreground": "#9db7e5",
    "block-cursor-text-style": "none",
    "input-selection-background": "#9db7e5 30%",
}
"""Colours that the style sheet and the widgets name beside Textual's own; every theme has them."""

DARK = Theme(
    name="kat-dark",
    primary="#9db7e5",
    secondary="#7f9ccb",
    accent="#c3a6e0",
    success="#8cc98f",
    warning="#e6a95c",
    error="#e5787d",
    foreground="#d5d9e2",
    background="#13151a",
    surface="#1a1d24",
    panel="#232731",
    variables=VARIABLES,
)

LIGHT = Theme(
    name="kat-light",
    primary="#3d63a8",
    secondary="#5b7bb5",
    accent="#7d55a8",
    success="#2f7d46",
    warning="#a4660f",
    error="#b3343c",
    foreground="#23262d",
    background="#faf9f6",
    surface="#f0efeb",
    panel="#e4e3de",
    dark=False,
    variables=VARIABLES
    | {
        "think-auto": "#6d7586",
        "think-on": "#a4660f",
        "think-off": "#1f7d73",
        "muted": "#6b7280",
        "faint": "#9aa1ad",
        "code": "#efede7",
        "code-text": "#8a4f12",
        "diff-add": "#dcefe0",
        "diff-cut": "#f7dfe0",
        "footer-key-foreground": "#3d63a8",
    },
)

THINK_COLOURS = {request: f"$think-{request}" for request in ThinkRequest}


def badge(text: str, colour: str) -> str:
    """The style of a badge in `colour`, a variable of the theme."""
    return f"bold {colour} on {colour} 18%" if text else ""
