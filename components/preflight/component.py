"""The component ``preflight_run``."""

from typing import NamedTuple

from kfp import dsl

from kfp_textclf.components import images


@dsl.component(base_image=images.CPU, packages_to_install=[], install_kfp_package=False)
def preflight_run(
    dataset_pin: dict,
    base_model: str,
    publish_to: str,
    champion_uri: str = "",
    checkpoint_uri: str = "",
    node_selector: dict = {},  # noqa: B006  (KFP records the default; it is never mutated)
) -> NamedTuple("Outputs", [("base_model", str), ("champion", str)]):  # type: ignore[valid-type]
    """Look at everything that a run needs, in seconds, before a GPU node is started for it.

    Every problem is named, each on a line of the log, and all of them in the error. What may be right all the same is
    a note: a pool that starts at zero has no node yet, and a node list is not everybody's to read.

    Args:
        dataset_pin: Version of the data set, see ingest_dataset: each file must be there, with its pinned size.
        base_model: URI of the pretrained model: it must be there; it is not downloaded.
        publish_to: URI of the model store: it must be writable.
        champion_uri: The published version to beat, which must be there; empty for the champion of publish_to, none for
            none.
        checkpoint_uri: Where checkpoints are kept, which must be writable; empty for nowhere.
        node_selector: Labels of the nodes that train; on a cluster, whether any node has them.
    """
    from kfp_textclf.components.preflight import stage

    found = stage.preflight(
        dataset_pin,
        base_model=base_model,
        publish_to=publish_to,
        champion_uri=champion_uri,
        checkpoint_uri=checkpoint_uri,
        node_selector=node_selector,
    )
    return (found.base_model, found.champion)
