"""The sandbox that the user's settings ask for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from assistant.config import Settings, config_dir, state_dir
from assistant.safety.sandbox import Sandbox, detect


def sandbox_for(repository: Path, settings: Settings, environ: Mapping[str, str] = os.environ) -> Sandbox:
    """The strongest sandbox that works here, opened as far as the settings say.

    Raises:
        UserError: a folder of the settings must stay closed.
    """
    return detect(
        repository,
        config_dirs=[config_dir(environ), state_dir(environ)],
        environ=environ,
        network=settings.sandbox_network,
        write=[Path(folder) for folder in settings.sandbox_write],
    )
