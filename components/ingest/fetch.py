"""Fetching pinned bytes: refused when they are not the pinned ones."""

from pathlib import Path

from kfp_textclf.components.common.dataset_pin import PinnedFile
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.progress import report_progress
from kfp_textclf.components.common.reading import Received
from kfp_textclf.components.common.transfer import Expected, open_source, transfer


def fetch(pinned: PinnedFile, target: Path) -> Received:
    """Write the pinned bytes to ``target``.

    Raises:
        UserError: The copy cannot be read, or its size or md5 is not the pinned one.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return transfer(open_source(pinned.uri), target, Expected(pinned.size, pinned.md5), report_progress)
    except OSError as error:
        raise UserError(f"{pinned.path}: cannot be written ({error.strerror}); use another path in the pin") from error
    except UserError as error:
        raise UserError(f"{pinned.path}: {error}") from error
