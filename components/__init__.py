"""The stages of a continuously trained text classifier, each one a Kubeflow Pipelines component.

Importing this package is cheap: a component, and with it kfp, is imported when its name is first used.

    from kfp_textclf.components import train_classifier
"""

from importlib import import_module
from typing import Any

_FOLDER_OF = {
    "preflight_run": "preflight",
    "ingest_dataset": "ingest",
    "prepare_dataset": "prepare",
    "compare_dataset": "compare",
    "train_classifier": "train",
    "train_candidate": "candidate",
    "select_best": "select",
    "export_onnx": "export",
    "evaluate_model": "evaluate",
    "publish_model": "publish",
    "record_run": "record",
}


def __getattr__(name: str) -> Any:
    """Import a component when it is first asked for (PEP 562)."""
    if name not in _FOLDER_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FOLDER_OF[name]}.component"), name)


def __dir__() -> list[str]:
    """Return the names of the components."""
    return sorted(_FOLDER_OF)
