"""The screens that lie over the chat."""
