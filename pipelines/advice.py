"""What to do about a step that failed, by what its output says."""

import re
from collections.abc import Sequence

from kfp_textclf.components.common.errors import UserError

_ADVICE = (
    (rf"{UserError.__name__}: ", "Mend what the last line names."),
    (
        r"OOMKilled|exit code 137|out of memory in its container",
        "The step needs more memory: raise cluster.memory, or give --memory for containers here.",
    ),
    (r"CUDA out of memory|CUDA error: out of memory", "The GPU's memory is too small: lower train.batch_size."),
    (
        r"ImagePull|ErrImage|manifest unknown|no such image",
        "The image is not where the pod looks: `make push compile REGISTRY=... TO=build`, submit build/training.yaml.",
    ),
    (
        r"nodes are available|Unschedulable|Insufficient (cpu|memory|nvidia)",
        "No node fits: look at cluster.node_selector, cluster.gpu_type and the size of the pool.",
    ),
    (r"No space left on device", "The disk is full: give the pod or this machine more room."),
    (r"DeadlineExceeded|deadline exceeded", "The step took longer than it may: look why, or raise its time limit."),
    (
        r"AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|403 Forbidden",
        "The store refuses the credentials: look at the secret or the service account of the pods.",
    ),
)


def advice(lines: Sequence[str], on_cluster: bool) -> str:
    """Return what to do next.

    Args:
        lines: The last lines of the step's output.
        on_cluster: Whether the run was one of a cluster.
    """
    text = "\n".join(lines)
    known = next((what for pattern, what in _ADVICE if re.search(pattern, text)), "")
    again = "Submit again" if on_cluster else "Run the same command again"
    return f"{known} {again}: finished steps are reused, and a training goes on from its checkpoint.".strip()
