"""What can be seen of Weights & Biases and of the cluster; whatever cannot be seen is no reason to fail."""

import base64
import json
import os
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kfp_textclf.components.common.tracking_environment import DEFAULT_SERVER, wanted_mode

SECONDS = 5.0
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def wandb_note() -> str:
    """Return what is wrong with ``WANDB_API_KEY``, or nothing."""
    key = os.environ.get("WANDB_API_KEY", "").strip()
    if not key or wanted_mode()[0] != "online":
        return ""
    if not re.fullmatch(r"(\S+-)?[0-9a-f]{40}|wandb_v\d_\S{40,}", key):
        return "WANDB_API_KEY: is not of the form of a key; copy it from the page of your account"
    base = (os.environ.get("WANDB_BASE_URL") or DEFAULT_SERVER).rstrip("/")
    credentials = base64.b64encode(f"api:{key}".encode()).decode()
    request = urllib.request.Request(  # noqa: S310  (the address is that of the user's own server)
        f"{base}/graphql",
        data=json.dumps({"query": "{ viewer { username } }"}).encode(),
        headers={"Authorization": f"Basic {credentials}", "Content-Type": "application/json"},
    )
    try:
        viewer = (_asked(request).get("data") or {}).get("viewer")
    except (OSError, ValueError, AttributeError) as error:
        if getattr(error, "code", None) in (401, 403):
            return f"WANDB_API_KEY: {base} does not know it; nothing will be logged there"
        return f"WANDB_API_KEY: {base} cannot be asked ({_reason(error)}); nothing may be logged there"
    return "" if viewer else f"WANDB_API_KEY: {base} does not know it; nothing will be logged there"


def gpu_pool_note(node_selector: Mapping[str, str], account: Path = ACCOUNT) -> str:
    """Return that no node has the labels of the GPU pool, or that it cannot be seen; nothing outside a cluster.

    No node is no error: pools that start at zero have none until a pod asks for it.

    Args:
        node_selector: Labels of the nodes.
        account: Directory of the pod's service account.
    """
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    token = account / "token"
    if not node_selector or not host or not token.is_file():
        return ""
    labels = ",".join(f"{name}={value}" for name, value in node_selector.items())
    address = (
        f"https://{f'[{host}]' if ':' in host else host}:{port}/api/v1/nodes?limit=1&labelSelector={quote(labels)}"
    )
    try:
        authorization = f"Bearer {token.read_text(encoding='utf-8').strip()}"
        request = urllib.request.Request(address, headers={"Authorization": authorization})
        nodes = _asked(request, ssl.create_default_context(cafile=str(account / "ca.crt"))).get("items")
    except (OSError, ValueError, AttributeError) as error:
        return f"node_selector {labels}: whether a node has it cannot be seen from here ({_reason(error)})"
    if nodes:
        return ""
    return f"node_selector {labels}: no node has it now; if the pool does not start at zero, correct it"


def _asked(request: urllib.request.Request, context: ssl.SSLContext | None = None) -> Any:
    with urllib.request.urlopen(request, timeout=SECONDS, context=context) as answer:  # noqa: S310
        return json.load(answer)


def _reason(error: Exception) -> str:
    return " ".join(str(getattr(error, "reason", None) or error).split())[:200]
