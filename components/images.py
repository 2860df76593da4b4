"""The one place that names the container images.

``CPU``, ``EXPORT``, ``GPU`` and ``SERVING`` are the images of this release. ``KFP_TEXTCLF_IMAGES``, a JSON object from
target to name, puts others in their place: `pipelines.sources.current_images` fills it for what is run from a checkout.
"""

import json
import os

VERSION = "0.1.0"
REGISTRY = "ghcr.io/kfp-textclf"
TARGETS = ("cpu", "export", "gpu", "serving")  # stages of images/Dockerfile
ENVIRONMENT = "KFP_TEXTCLF_IMAGES"


def image_name(target: str, tag: str = VERSION, registry: str = REGISTRY) -> str:
    """Return the name of an image."""
    return f"{registry}/kfp-textclf-{target}:{tag}"


def __getattr__(name: str) -> str:
    """Return the name of the image of a target, such as ``CPU``, by the environment at that moment."""
    target = name.lower()
    if name != target.upper() or target not in TARGETS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return json.loads(os.environ.get(ENVIRONMENT, "{}")).get(target) or image_name(target)
