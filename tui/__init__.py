"""The terminal interface: it shows events and sends intents."""
