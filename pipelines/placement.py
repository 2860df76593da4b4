"""Where steps run on a cluster: pool, resources, retries, time limits, user, secrets and labels.

What differs from cluster to cluster, the GPU pool and the names of secrets, are parameters of the pipeline, so that one
YAML fits every cluster. KFP takes the rest at compile time only. ``kfp.local`` ignores all of it.
"""

from typing import Any

from kfp import kubernetes
from kfp.dsl import PipelineTask

SHM_SIZE = "2Gi"  # memory that the processes of a training share; the default of containers is 64 MiB
USER, GROUP = 1000, 0  # as the images have it
SMALL = ("500m", "1Gi")  # cores and memory
RETRIES = 2  # KFP retries what the user has to mend as well: enough for a lost node or a store that is away
SECRETS = {
    "s3_secret": (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_ENDPOINT_URL_S3",
        "AWS_REGION",
    ),
    "hub_secret": ("HF_TOKEN",),
    "wandb_secret": ("WANDB_API_KEY",),
}


def on_cpu_pool(
    task: PipelineTask,
    pipeline: str,
    *,
    cpu: str = "1",
    memory: str = "2Gi",
    least: tuple[str, str] = SMALL,
    minutes: int = 60,
    retries: int = RETRIES,
    **secrets: Any,
) -> PipelineTask:
    """Let a step run anywhere, with at most these resources.

    Args:
        task: The step.
        pipeline: Name of its pipeline, for the bill.
        cpu: Cores that it may use.
        memory: Memory that it may use, as Kubernetes writes it.
        least: Cores and memory that a node must have free for it.
        minutes: How long it may take, each time.
        retries: How often it is tried again.
        secrets: Names of Kubernetes secrets, by what they are for: ``s3_secret``, ``hub_secret``, ``wandb_secret``.
            They need not exist.
    """
    task.set_cpu_request(least[0]).set_cpu_limit(cpu).set_memory_request(least[1]).set_memory_limit(memory)
    return _anywhere(task, pipeline, minutes, retries, secrets)


def on_gpu_pool(
    task: PipelineTask,
    pipeline: str,
    *,
    gpu_type: Any,
    gpu_count: Any,
    cpu: Any,
    memory: Any,
    node_selector: Any,
    tolerations: Any,
    hours: int = 24,
    **secrets: Any,
) -> PipelineTask:
    """Let a step run on the nodes of a GPU pool, all of whose settings are parameters of the pipeline.

    Args:
        task: The step.
        pipeline: Name of its pipeline, for the bill.
        gpu_type: Resource that the nodes offer, such as ``nvidia.com/gpu``.
        gpu_count: How many, as text: KFP drops a number. ``"0"`` needs no GPU.
        cpu: Cores.
        memory: As Kubernetes writes it.
        node_selector: Labels of the nodes.
        tolerations: Taints of the nodes.
        hours: How long it may take, each time.
        secrets: As in `on_cpu_pool`.
    """
    task.set_accelerator_type(gpu_type).set_accelerator_limit(gpu_count)
    task.set_cpu_request(cpu).set_cpu_limit(cpu).set_memory_request(memory).set_memory_limit(memory)
    task.register_pipeline_channels([gpu_type, gpu_count, cpu, memory])  # else kfp passes them into no loop
    kubernetes.add_node_selector_json(task, node_selector)
    kubernetes.add_toleration_json(task, tolerations)
    kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit=SHM_SIZE)  # noqa: S108
    kubernetes.add_pod_annotation(task, "karpenter.sh/do-not-disrupt", "true")  # nodes leave when it is done
    return _anywhere(task, pipeline, hours * 60, RETRIES, secrets)


def _anywhere(task: PipelineTask, pipeline: str, minutes: int, retries: int, secrets: dict[str, Any]) -> PipelineTask:
    """Set what every step has."""
    # Argo counts backoff_max_duration from the start of the first attempt: what is to be retried has to fit in.
    whole = f"{(retries + 1) * (minutes + 10)}m"
    task.set_retry(retries, backoff_duration="30s", backoff_factor=2.0, backoff_max_duration=whole)
    kubernetes.set_timeout(task, minutes * 60)
    kubernetes.set_image_pull_policy(task, "IfNotPresent")
    kubernetes.set_security_context(task, run_as_user=USER, run_as_group=GROUP, run_as_non_root=True)
    kubernetes.add_pod_label(task, "app.kubernetes.io/part-of", "kfp-textclf")
    kubernetes.add_pod_label(task, "kfp-textclf/pipeline", pipeline)
    kubernetes.add_pod_label(task, "kfp-textclf/step", task.name)  # KFP itself labels pods with the run
    kubernetes.add_pod_label(task, "azure.workload.identity/use", "true")  # on AKS: the role of the service account
    for purpose, name in secrets.items():
        kubernetes.use_secret_as_env(task, name, {key: key for key in SECRETS[purpose]}, optional=True)
    return task
