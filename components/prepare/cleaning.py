"""One row as it stands in a file, and one worth learning from."""

from kfp_textclf.components.common.errors import UserError

LABEL_SEPARATOR = "#"
MULTI_LABEL_POLICIES = ("keep", "first", "drop")
UNSEEN_LABEL_POLICIES = ("error", "drop")


def single_label(label: str, policy: str) -> str:
    """Return the label that the multi-label policy makes of ``label``; empty to drop the row.

    Args:
        label: A label that holds the separator, such as ``a#b``.
        policy: ``keep`` it as one label, keep its ``first``, or ``drop`` the row.
    """
    if policy == "first":
        return label.split(LABEL_SEPARATOR)[0].strip() or label
    return "" if policy == "drop" else label


def require_policies(multi_label: str, unseen_labels: str) -> None:
    """Refuse a policy that is none (``UserError``)."""
    for name, policy, known in (
        ("multi_label", multi_label, MULTI_LABEL_POLICIES),
        ("unseen_labels", unseen_labels, UNSEEN_LABEL_POLICIES),
    ):
        if policy not in known:
            raise UserError(f"{name}={policy!r}: is not one of {', '.join(known)}")
