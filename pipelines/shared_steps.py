"""The steps that pipelines begin and end with: data in, and a model exported, judged, published and recorded."""

from collections.abc import Mapping
from typing import Any

from kfp.dsl import PIPELINE_JOB_ID_PLACEHOLDER

from kfp_textclf.components import (
    compare_dataset,
    evaluate_model,
    export_onnx,
    ingest_dataset,
    preflight_run,
    prepare_dataset,
    record_run,
)
from kfp_textclf.pipelines.gate import gate, name_run
from kfp_textclf.pipelines.placement import on_cpu_pool

MODEL_IN_MEMORY = ("1", "3Gi")  # cores and memory of a step that loads a model and a batch of texts


def data_steps(
    pipeline: str,
    *,
    dataset_pin: Any,
    publish_to: Any,
    checkpoint_uri: Any,
    node_selector: Any,
    base_model: Any,
    champion_uri: Any,
    checks: Any,
    limits: Any,
    preparation: Mapping[str, Any],
    secrets: Mapping[str, Any],
) -> tuple[Any, Any, Any, Any]:
    """Look at what the run will need, then fetch, prepare and compare the data.

    Args:
        pipeline: Name of the pipeline, for the bill.
        dataset_pin: As in the training pipeline, and so are those below.
        publish_to: URI of the model store.
        checkpoint_uri: Where trainings are resumed from.
        node_selector: Labels of the nodes of the GPU pool.
        base_model: URI of the base model; steps after the first are given its version, too.
        champion_uri: The published version to beat; empty for the champion of publish_to as the run begins.
        checks: Levels of the checks of the data.
        limits: What they tolerate.
        preparation: All other arguments of prepare_dataset.
        secrets: Names of Kubernetes secrets, see `placement.SECRETS`.

    Returns:
        The steps that looked at what is needed (and at base_model and champion as they are now), and that fetched,
        prepared and compared the data set.
    """
    s3, s3_and_hub = _only(secrets, "s3_secret"), _only(secrets, "s3_secret", "hub_secret")
    checked = preflight_run(
        dataset_pin=dataset_pin,
        base_model=base_model,
        publish_to=publish_to,
        champion_uri=champion_uri,
        checkpoint_uri=checkpoint_uri,
        node_selector=node_selector,
    ).set_caching_options(False)  # the world may have changed since
    on_cpu_pool(checked, pipeline, cpu="500m", memory="1Gi", minutes=10, retries=1, **secrets)
    ingested = ingest_dataset(dataset_pin=dataset_pin).after(checked)
    on_cpu_pool(ingested, pipeline, minutes=120, **s3)
    prepared = prepare_dataset(
        raw=ingested.outputs["raw"],
        base_model=checked.outputs["base_model"],
        checks=checks,
        limits=limits,
        **preparation,
    )
    on_cpu_pool(prepared, pipeline, cpu="2", memory="4Gi", minutes=240, **s3_and_hub)
    compared = compare_dataset(
        dataset=prepared.outputs["dataset"], champion_uri=checked.outputs["champion"], checks=checks, limits=limits
    )
    on_cpu_pool(compared, pipeline, memory="4Gi", **s3)
    return checked, ingested, prepared, compared


def closing_steps(
    pipeline: str,
    *,
    model: Any,
    dataset: Any,
    comparison: Any,
    exporting: Mapping[str, Any],
    publish_to: Any,
    publish_promoted: Any,
    keep_versions: Any,
    judgement: Mapping[str, Any],
    secrets: Mapping[str, Any],
) -> tuple[Any, Any]:
    """Export a trained model, evaluate it, publish it if it is good enough, and record what came of it.

    Args:
        pipeline: Name of the pipeline, for the bill.
        model: The trained model.
        dataset: The prepared data set.
        comparison: What changed since the champion's data.
        exporting: All other arguments of export_onnx.
        publish_to: URI of the model store.
        publish_promoted: Publish a model that was promoted.
        keep_versions: How many of the newest published versions to keep.
        judgement: All other arguments of evaluate_model.
        secrets: Names of Kubernetes secrets, see `placement.SECRETS`.

    Returns:
        The steps that exported and evaluated the model.
    """
    s3, s3_and_wandb = _only(secrets, "s3_secret"), _only(secrets, "s3_secret", "wandb_secret")
    exported = export_onnx(model=model, dataset=dataset, **exporting)
    on_cpu_pool(exported, pipeline, cpu="2", memory="8Gi", least=MODEL_IN_MEMORY)
    evaluated = evaluate_model(
        dataset=dataset, onnx=exported.outputs["onnx"], onnx_int8=exported.outputs["onnx_int8"], **judgement
    )
    on_cpu_pool(evaluated, pipeline, cpu="2", memory="8Gi", least=MODEL_IN_MEMORY, minutes=240, **s3_and_wandb)
    name_run(evaluated)
    gated = gate(
        verdict=evaluated.outputs["verdict"],
        model=exported.outputs["onnx_int8"],
        evaluation=evaluated.outputs["evaluation"],
        publish_to=publish_to,
        publish_promoted=publish_promoted,
        keep_versions=keep_versions,
        **s3_and_wandb,
    )
    recorded = record_run(
        evaluation=evaluated.outputs["evaluation"],
        model=model,
        comparison=comparison,
        report=evaluated.outputs["report"],
        summary=evaluated.outputs["summary"],
        publish_to=publish_to,
        run_id=PIPELINE_JOB_ID_PLACEHOLDER,
    ).set_caching_options(False)  # each run has its own id
    recorded.after(gated)
    on_cpu_pool(recorded, pipeline, cpu="500m", memory="1Gi", **s3)
    return exported, evaluated


def _only(secrets: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: secrets[name] for name in names}
