"""Copying the pinned files of a checkout to a store, under the keys that DVC uses there."""

import tempfile
from pathlib import Path

from kfp_textclf.components.common.dataset_pin import object_key
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.object_store import local_path, open_store
from kfp_textclf.pipelines.dvc_remotes import resolve_store
from kfp_textclf.pipelines.params import Params
from kfp_textclf.pipelines.pinned_bytes import md5_of
from kfp_textclf.pipelines.pins import pin_dataset


def push_dataset(params: Params, root: Path, store_uri: str) -> list[str]:
    """Copy what a store lacks of the chosen data set, and read back what was copied.

    For files that DVC tracks this is what ``dvc push`` does; files that git holds can be fetched from the store too.

    Args:
        params: Parameters; ``dataset`` is the data set.
        root: What relative paths start from.
        store_uri: The store: URI, directory, or name of a DVC remote.

    Returns:
        The paths that were copied.

    Raises:
        UserError: A file is not here or not the pinned one, or the store refuses or returns other bytes.
    """
    pin, _ = pin_dataset(params.files(), root)  # of the checkout, whatever `store` says
    remote = resolve_store(store_uri, root)
    remote.use_options()
    store = open_store(remote.uri, "store")
    copied = []
    for entry in pin["files"]:
        md5, source = entry["md5"], local_path(entry["uri"], "dataset_pin")
        key = object_key(md5)
        if store.size(key) is not None:
            continue
        if md5_of(source) != md5:
            raise UserError(f"{source}: has md5 {md5_of(source)}, pinned is {md5}; restore it or pin it anew")
        store.upload(source, key)
        with tempfile.TemporaryDirectory() as scratch:
            copy = Path(scratch) / "copy"
            store.download(key, copy)
            if md5_of(copy) != md5:
                raise UserError(
                    f"{store.uri_of(key)}: holds md5 {md5_of(copy)} instead of {md5}; delete it, push again"
                )
        copied.append(entry["path"])
    return copied
