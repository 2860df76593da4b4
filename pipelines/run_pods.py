"""What Kubernetes knows of a run's pods and the pipeline server does not pass on: why they wait, and what they printed.

It is asked where it can be reached anyway: through ``--kube-context``, or by the current context when the address of
the pipeline server is a port of this machine, forwarded by kubectl. Whatever it does not answer stays unknown.
"""

import re
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.pipelines.cluster import Connection

NODE_NAME = "workflows.argoproj.io/node-name"  # annotation of Argo: workflow.root.train-classifier.executor(0)
LAUNCHER_LINES = re.compile(r"[IWEF]\d{4} |time=")  # of KFP's launcher and Argo's executor, around the step's own
STUCK = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError", "CreateContainerError")
USER_ERROR = f"{UserError.__module__}.{UserError.__name__}: "
TIMEOUT = (3, 10)  # seconds to connect and to answer
LOG_LINES, SHOWN_LINES = 60, 5


class Pods:
    """The pods of a run, by step."""

    def __init__(self, connection: Connection, run_id: str) -> None:
        """Ask nothing yet."""
        self._connection = connection
        self._namespace = connection.namespace or "kubeflow"
        self._selector = f"pipeline/runid={run_id}"

    @property
    def command(self) -> str:
        """The command that shows why they wait."""
        return f"kubectl describe pods --namespace {self._namespace} --selector {self._selector}"

    def waiting(self) -> dict[str, str]:
        """Return by step why its pod does not run; nothing of those of which it is not known."""
        reasons = {_step(pod): _reason(pod) for pod in self._pods()}
        return {step: reason for step, reason in reasons.items() if step and reason}

    def last_lines(self, step: str) -> str:
        """Return the last lines of a step's newest pod, or its error alone if that is the user's, or nothing."""
        pods = [pod for pod in self._pods() if _step(pod) == step]
        if not pods:
            return ""
        name = max(pods, key=lambda pod: str(pod.metadata.creation_timestamp)).metadata.name
        log = self._asked("read_namespaced_pod_log", name, self._namespace, container="main", tail_lines=LOG_LINES)
        own = [line for line in str(log or "").splitlines() if line.strip() and not LAUNCHER_LINES.match(line)]
        refused = [line.removeprefix(USER_ERROR) for line in own if line.startswith(USER_ERROR)]
        return "\n".join(refused[-1:] or own[-SHOWN_LINES:])

    def _pods(self) -> list[Any]:
        found = self._asked("list_namespaced_pod", self._namespace, label_selector=self._selector)
        return found.items if found else []

    def _asked(self, method: str, *arguments: Any, **options: Any) -> Any:
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            return self._api and getattr(self._api, method)(*arguments, **options, _request_timeout=TIMEOUT)
        except (ApiException, HTTPError, OSError, ValueError):
            return None

    @cached_property
    def _api(self) -> Any:
        from kubernetes import client, config

        here = urlsplit(self._connection.host).hostname in ("localhost", "127.0.0.1", "::1")
        if not self._connection.kube_context and not here:
            return None
        settings: Any = client.Configuration()
        settings.retries = False
        try:
            config.load_kube_config(context=self._connection.kube_context or None, client_configuration=settings)
        except (config.ConfigException, OSError, ValueError):
            return None
        return client.CoreV1Api(client.ApiClient(settings))


def _step(pod: Any) -> str:
    """Return the task whose executor a pod is, or nothing for a driver."""
    node = (pod.metadata.annotations or {}).get(NODE_NAME, "")
    found = re.search(r"\.([\w-]+)\.executor(\(\d+\))?$", node)
    return found[1] if found else ""


def _reason(pod: Any) -> str:
    """Return why a pod waits, or nothing if it does not."""
    if pod.status.phase != "Pending":
        return ""
    for container in [*(pod.status.init_container_statuses or ()), *(pod.status.container_statuses or ())]:
        waiting = container.state.waiting if container.state else None
        if waiting and waiting.reason in STUCK:
            return ": ".join(filter(None, (waiting.reason, waiting.message)))
    conditions = [condition for condition in pod.status.conditions or () if condition.type == "PodScheduled"]
    return next((condition.message or condition.reason for condition in conditions if condition.status == "False"), "")
