"""The one place that names the container images.

Compiled YAML names the images of this release. ``KFP_TEXTCLF_IMAGES``, a JSON object from target to name, puts others
in their place: `pipelines.sources.current_images` fills it for what is run from a checkout.
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


_NAMES = {target: image_name(target) for target in TARGETS} | json.loads(os.environ.get(ENVIRONMENT, "{}"))
CPU, EXPORT, GPU = _NAMES["cpu"], _NAMES["export"], _NAMES["gpu"]
