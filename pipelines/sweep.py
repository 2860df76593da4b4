"""The sweep: many ways to train, the best one exported, evaluated and published."""

from typing import Any, NamedTuple

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Model

from kfp_textclf.components import select_best, train_candidate
from kfp_textclf.pipelines.final_round import NAME, PARALLELISM, final_round
from kfp_textclf.pipelines.gate import name_run
from kfp_textclf.pipelines.placement import on_cpu_pool, on_gpu_pool
from kfp_textclf.pipelines.shared_steps import closing_steps, data_steps


class SweepOutputs(NamedTuple):
    """What a run of the pipeline leaves, whatever the verdict."""

    raw: Dataset
    dataset: Dataset
    comparison: Artifact
    model: Model
    onnx: Model
    onnx_int8: Model
    evaluation: Artifact
    screening: Model
    verdict: str
    reason: str


@dsl.pipeline(
    name=NAME,
    description="Candidates compared on the validation rows; the winner exported, evaluated and published.",
)
def sweep(
    dataset_pin: dict,
    publish_to: str,
    candidates: list[dict] = [{"name": "default"}],  # noqa: B006  (KFP records the default; it is never mutated)
    screening_epochs: int = 1,
    keep: int = 2,
    base_model: str = "hf://albert/albert-base-v2@8e2f239c5f8a2c0f253781ca60135db913e5c80c",
    champion_uri: str = "",
    seed: int = 13,
    train_file: str = "",
    test_file: str = "",
    text_column: str = "text",
    label_column: str = "label",
    header: str = "auto",
    column_order: list[str] = ["label", "text"],  # noqa: B006  (KFP records the default; it is never mutated)
    multi_label: str = "keep",
    min_examples: int = 1,
    unseen_labels: str = "error",
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    max_length: int = 128,
    checks: dict = {},  # noqa: B006
    limits: dict = {},  # noqa: B006
    metric_for_best_model: str = "matthews_correlation",
    checkpoint_uri: str = "",
    checkpoint_steps: int = 200,
    prices: dict = {},  # noqa: B006
    opset: int = 17,
    variants: list[str] = ["int8"],  # noqa: B006
    min_int8_agreement: float = 0.0,
    floor: float = 0.8,
    max_int8_drop: float = 0.01,
    min_baseline_gain: float = 0.0,
    max_champion_drop: float = 0.0,
    promote_on: str = "not_worse",
    prefer: str = "smallest",
    publish_promoted: bool = True,
    keep_versions: int = 0,
    gpu_type: str = "nvidia.com/gpu",
    gpu_count: str = "1",
    cpu: str = "4",
    memory: str = "16Gi",
    node_selector: dict = {},  # noqa: B006
    tolerations: list = [  # noqa: B006
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    ],
    s3_secret: str = "kfp-textclf-s3",  # noqa: S107  (the name of a secret)
    hub_secret: str = "kfp-textclf-hub",  # noqa: S107
    wandb_secret: str = "kfp-textclf-wandb",  # noqa: S107
) -> SweepOutputs:
    """Try candidates, train the best ones to the end, and publish the winner if it is good enough.

    Successive halving in two rounds: every candidate trains for a few epochs, the best ones train as long as they say.

    Args:
        dataset_pin: Version of the data set, see ingest_dataset.
        publish_to: URI of the model store.
        candidates: Mappings with a name and any of the parameters of train_classifier and base_model. One that is
            named default is always trained to the end.
        screening_epochs: Epochs of the first round; 0 for no such round.
        keep: Candidates that are trained to the end.
        base_model: URI of the pretrained model: hf://org/name@revision, s3://bucket/prefix, file:///path or package://module.
        champion_uri: The published version to beat; empty for the champion of publish_to, none for none.
        seed: Seed of splits, new weights, dropout and the order of rows.
        train_file: Name of the training file; not needed when the data set is one file.
        test_file: Name of the held-out file; empty to hold out test_fraction of the training file.
        text_column: Name of the text column.
        label_column: Name of the label column.
        header: Whether the first line of a CSV or TSV names the columns: auto, present or absent.
        column_order: Names of the columns of a file without a header, in order.
        multi_label: What to do with a label such as a#b: keep it as one, keep the first, or drop the row.
        min_examples: Labels with fewer training rows are dropped.
        unseen_labels: What to do with test rows whose label is never in train: error or drop.
        validation_fraction: Share of the training rows kept apart for choices made during training.
        test_fraction: Share of the rows held out when there is no test_file.
        max_length: Longest text in tokens; longer ones are cut.
        checks: Level of a check of the data, by its name: error, warn or off.
        limits: What a check of the data tolerates, by its name.
        metric_for_best_model: Metric on the validation rows that chooses the epoch and the winner.
        checkpoint_uri: Where a training that is killed is resumed from, file:///directory or s3://bucket/prefix.
        checkpoint_steps: The most steps of work that are lost when it is killed.
        prices: Table for the estimate of energy and cost, see train_classifier.
        opset: ONNX operator set.
        variants: What may be published: int8, and if wanted int4 (smallest), fp16 (for GPUs), fp32.
        min_int8_agreement: Share of the validation rows on which int8 must answer as fp32; 0 quantises every layer.
        floor: Smallest Matthews correlation of the int8 model.
        max_int8_drop: How far the int8 model may lie below torch.
        min_baseline_gain: It must beat each cheap baseline by more than this; -2 turns this off.
        max_champion_drop: How far it may lie below the champion, beyond chance.
        publish_promoted: Publish a model that was promoted; otherwise it is only judged.
        keep_versions: How many of the newest published versions to keep, besides the champion and the one before it; 0
            keeps all.
        promote_on: not_worse: replace the champion unless significantly worse; better: only if significantly better.
        prefer: Which of the variants that pass is published: the smallest or the fastest.
        gpu_type: Resource that the nodes of the GPU pool offer.
        gpu_count: GPUs of the training step, as text; "0" trains on a CPU.
        cpu: CPU cores of the training step, as Kubernetes writes them.
        memory: Memory of the training step, as Kubernetes writes it.
        node_selector: Labels of the nodes of the GPU pool.
        tolerations: Taints of these nodes that the training step tolerates, as Kubernetes writes them.
        s3_secret: Kubernetes secret with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and what else S3 needs; it need not
            exist where pods have a role of their own.
        hub_secret: Kubernetes secret with HF_TOKEN, for private base models; it need not exist.
        wandb_secret: Kubernetes secret with WANDB_API_KEY; it need not exist.
    """
    secrets = {"s3_secret": s3_secret, "hub_secret": hub_secret, "wandb_secret": wandb_secret}
    pool: dict[str, Any] = {"gpu_type": gpu_type, "gpu_count": gpu_count, "cpu": cpu, "memory": memory}
    pool |= {"node_selector": node_selector, "tolerations": tolerations, **secrets}
    checked, ingested, prepared, compared = data_steps(
        NAME,
        dataset_pin=dataset_pin,
        publish_to=publish_to,
        checkpoint_uri=checkpoint_uri,
        node_selector=node_selector,
        base_model=base_model,
        champion_uri=champion_uri,
        checks=checks,
        limits=limits,
        preparation={
            "train_file": train_file,
            "test_file": test_file,
            "text_column": text_column,
            "label_column": label_column,
            "header": header,
            "column_order": column_order,
            "multi_label": multi_label,
            "min_examples": min_examples,
            "unseen_labels": unseen_labels,
            "validation_fraction": validation_fraction,
            "test_fraction": test_fraction,
            "max_length": max_length,
            "seed": seed,
        },
        secrets=secrets,
    )
    with dsl.ParallelFor(candidates, name="screening", parallelism=PARALLELISM) as candidate:  # type: ignore[arg-type]
        screened = train_candidate(
            dataset=prepared.outputs["dataset"],
            candidate=candidate,
            base_model=base_model,  # kfp.local gives a loop its item for a step's output; its version is in dataset
            screening_epochs=screening_epochs,
        ).after(compared)
        on_gpu_pool(screened, NAME, **pool)
        name_run(screened)
    chosen = select_best(
        models=dsl.Collected(screened.outputs["model"]), keep=keep, metric=metric_for_best_model, always="default"
    ).set_display_name("select-survivors")
    on_cpu_pool(chosen, NAME)
    best: Any = final_round(
        dataset=prepared.outputs["dataset"],
        survivors=chosen.outputs["survivors"],
        base_model=checked.outputs["base_model"],
        metric=metric_for_best_model,
        checkpoint_uri=checkpoint_uri,
        checkpoint_steps=checkpoint_steps,
        prices=prices,
        **pool,
    )
    exported, evaluated = closing_steps(
        NAME,
        model=best.output,
        dataset=prepared.outputs["dataset"],
        comparison=compared.outputs["comparison"],
        exporting={"opset": opset, "variants": variants, "min_int8_agreement": min_int8_agreement},
        publish_to=publish_to,
        publish_promoted=publish_promoted,
        keep_versions=keep_versions,
        judgement={
            "champion_uri": checked.outputs["champion"],
            "floor": floor,
            "max_int8_drop": max_int8_drop,
            "min_baseline_gain": min_baseline_gain,
            "max_champion_drop": max_champion_drop,
            "promote_on": promote_on,
            "prefer": prefer,
        },
        secrets=secrets,
    )
    return SweepOutputs(
        raw=ingested.outputs["raw"],
        dataset=prepared.outputs["dataset"],
        comparison=compared.outputs["comparison"],
        model=best.output,
        onnx=exported.outputs["onnx"],
        onnx_int8=exported.outputs["onnx_int8"],
        evaluation=evaluated.outputs["evaluation"],
        screening=chosen.outputs["best"],
        verdict=evaluated.outputs["verdict"],
        reason=evaluated.outputs["reason"],
    )
