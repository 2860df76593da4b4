"""The cache of ``kfp.local``, which only asks whether an artifact is still there."""

from pathlib import Path
from typing import Any

from kfp.local import cache

from kfp_textclf.components.common.artifacts import verified


class VerifiedCache(cache.LocalCache):
    """A cache that gives no artifact back before every byte of it is verified."""

    def get(self, key: str) -> dict[str, Any] | None:
        """Return the outputs of a task that ran before, or None.

        Raises:
            UserError: An artifact differs from its manifest; the message names file, expected and actual hash.
        """
        outputs = super().get(key)
        for output in (outputs or {}).values():
            for artifact in output if isinstance(output, list) else [output]:
                directory = getattr(artifact, "uri", "")
                if directory and Path(directory).is_dir():  # metrics and reports are no directories
                    verified(directory)
        return outputs


def install() -> None:
    """Let ``kfp.local`` use this cache."""
    cache.LocalCache = VerifiedCache
