"""The last round of the sweep: candidates trained to the end, and the best one chosen."""

from typing import Any

from kfp import dsl
from kfp.dsl import Dataset, Input, Model

from kfp_textclf.components import select_best, train_candidate
from kfp_textclf.pipelines.gate import name_run
from kfp_textclf.pipelines.placement import on_cpu_pool, on_gpu_pool

NAME = "textclf-sweep"
PARALLELISM = 2  # candidates at a time; KFP takes no parameter here


@dsl.pipeline(name="final-round", description="Train candidates to the end and choose the best one.")
def final_round(
    dataset: Input[Dataset],
    survivors: list[dict],
    base_model: str,
    metric: str,
    checkpoint_uri: str,
    checkpoint_steps: int,
    prices: dict,
    gpu_type: str,
    gpu_count: str,
    cpu: str,
    memory: str,
    node_selector: dict,
    tolerations: list,
    s3_secret: str,
    hub_secret: str,
    wandb_secret: str,
) -> Model:
    """Train candidates to the end and choose the best one.

    A pipeline of its own because kfp.local finds a named output, such as the survivors, as the items of a loop only
    when it comes in as a parameter.

    Args:
        dataset: The prepared data set.
        survivors: Candidates.
        base_model: Model that the data set was tokenised for.
        metric: Metric that chooses.
        checkpoint_uri: Where checkpoints are kept.
        checkpoint_steps: The most steps of work that are lost when a training is killed.
        prices: Table for the estimate of energy and cost.
        gpu_type: As in the sweep, and so are those below.
        gpu_count: GPUs of a training step.
        cpu: CPU cores.
        memory: Memory.
        node_selector: Labels of the nodes.
        tolerations: Taints of the nodes.
        s3_secret: Kubernetes secret for S3.
        hub_secret: Kubernetes secret for the Hugging Face Hub.
        wandb_secret: Kubernetes secret for Weights & Biases.
    """
    pool: dict[str, Any] = {"gpu_type": gpu_type, "gpu_count": gpu_count, "cpu": cpu, "memory": memory}
    pool |= {"node_selector": node_selector, "tolerations": tolerations}
    pool |= {"s3_secret": s3_secret, "hub_secret": hub_secret, "wandb_secret": wandb_secret}
    with dsl.ParallelFor(survivors, name="training", parallelism=PARALLELISM) as survivor:  # type: ignore[arg-type]
        trained = train_candidate(
            dataset=dataset,
            candidate=survivor,
            base_model=base_model,
            checkpoint_uri=checkpoint_uri,
            checkpoint_steps=checkpoint_steps,
            prices=prices,
        )
        on_gpu_pool(trained, NAME, **pool)
        name_run(trained)
    best = select_best(models=dsl.Collected(trained.outputs["model"]), metric=metric)
    on_cpu_pool(best, NAME)
    return best.outputs["best"]
