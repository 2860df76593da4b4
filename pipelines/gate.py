"""What the training and the sweep pipeline share: publishing a promoted model, and a name for the run in each step."""

from kfp import dsl, kubernetes
from kfp.dsl import Artifact, Input, Model

from kfp_textclf.components import publish_model
from kfp_textclf.components.common.tracking_environment import RUN_ENVIRONMENT
from kfp_textclf.pipelines.placement import on_cpu_pool


def name_run(task: dsl.PipelineTask) -> None:
    """Tell a step which run it belongs to, to be tracked with its other steps.

    By the pod's label: an argument or a plain variable, other in every run, would enter KFP's cache key.
    """
    kubernetes.use_field_path_as_env(task, RUN_ENVIRONMENT, "metadata.labels['pipeline/runid']")


@dsl.pipeline(name="gate", description="Publish a model if it was promoted.")
def gate(
    verdict: str,
    model: Input[Model],
    evaluation: Input[Artifact],
    publish_to: str,
    publish_promoted: bool = True,
    keep_versions: int = 0,
    s3_secret: str = "kfp-textclf-s3",  # noqa: S107  (the name of a secret)
    wandb_secret: str = "kfp-textclf-wandb",  # noqa: S107
):
    """Publish a model if it was promoted.

    A pipeline of its own because kfp.local resolves a named output, such as the verdict, in a condition only when it
    comes in as a parameter: asked directly, it warns and takes neither branch.

    Args:
        verdict: promote or reject.
        model: The int8 model.
        evaluation: Its evaluation.
        publish_to: URI of the model store.
        publish_promoted: Whether to publish at all.
        keep_versions: How many of the newest versions to keep; 0 keeps all.
        s3_secret: Kubernetes secret with the credentials for S3.
        wandb_secret: Kubernetes secret for Weights & Biases.
    """
    with (
        dsl.If(publish_promoted == True, name="publishing"),  # noqa: E712  (kfp compares)
        dsl.If(verdict == "promote", name="promoted"),
    ):
        publishing = publish_model(
            model=model, evaluation=evaluation, publish_to=publish_to, keep_versions=keep_versions
        )
        name_run(publishing)
        publishing.set_caching_options(False)  # it moves the champion: a cached answer would say so without doing it
        on_cpu_pool(publishing, "textclf-gate", s3_secret=s3_secret, wandb_secret=wandb_secret)
