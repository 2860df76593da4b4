"""The component ``ingest_dataset``."""

from kfp import dsl
from kfp.dsl import Dataset, Output

from kfp_textclf.components import images


@dsl.component(base_image=images.CPU, packages_to_install=[], install_kfp_package=False)
def ingest_dataset(dataset_pin: dict, raw: Output[Dataset]):
    """Fetch exactly the pinned bytes of a data set, and refuse anything else.

    The pin is what DVC's .dvc files say, so neither git nor dvc is needed here. Size and md5 of every file are compared
    after the download, whatever the store answered: DVC itself does not. Large objects come in parts at once, and a
    broken connection is resumed. Credentials of an S3 store come from the environment or the pod's identity.

    Args:
        dataset_pin: Version of the data set: {"store": URI, "git_rev": str, "files": [{"path": str, "md5": str, "size":
            int, "uri": URI, optional}, ...]}. URIs are s3://, https://, http:// or file://; a file without one lies in
            the store under DVC's content-addressed key.
        raw: The pinned files, byte for byte.
    """
    from kfp_textclf.components.ingest import stage

    raw.metadata.update(stage.ingest(dataset_pin, raw.path).metadata())
