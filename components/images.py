"""The one place that names the container images.

A released pipeline names the release. What is run from a checkout is compiled with ``KFP_TEXTCLF_IMAGE_TAG`` set to the
content hash of everything that goes into the images, so that KFP, which caches by image name, sees every change of a
stage.
"""

import os

VERSION = "0.1.0"
REGISTRY = os.environ.get("KFP_TEXTCLF_REGISTRY", "ghcr.io/kfp-textclf")
TAG = os.environ.get("KFP_TEXTCLF_IMAGE_TAG", VERSION)

CPU = f"{REGISTRY}/kfp-textclf-cpu:{TAG}"
GPU = f"{REGISTRY}/kfp-textclf-gpu:{TAG}"
