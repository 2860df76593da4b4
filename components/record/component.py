"""The component ``record_run``."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Input, Markdown, Model

from kfp_textclf.components import images


@dsl.component(base_image=images.CPU, packages_to_install=[], install_kfp_package=False)
def record_run(
    evaluation: Input[Artifact],
    model: Input[Model],
    comparison: Input[Artifact],
    report: Input[HTML],
    summary: Input[Markdown],
    publish_to: str,
    run_id: str,
):
    """Keep the result of a run below its id in the model store, where those who submitted it find it.

    Args:
        evaluation: An evaluation; its metrics.json and predictions.csv go to runs/<run_id>/ in the store.
        model: The trained model, for the log of its training, and where that was tracked.
        comparison: What changed since the champion's data.
        report: The evaluation's page; it goes there as report.html.
        summary: The evaluation's summary; it goes there as report.md.
        publish_to: URI of the model store: file:///absolute/path or s3://bucket/prefix.
        run_id: The run's id.
    """
    from kfp_textclf.components.record import stage

    stage.record(
        evaluation.path,
        model.path,
        comparison.path,
        report.path,
        summary.path,
        publish_to=publish_to,
        run_id=run_id,
        tracking=model.metadata.get("tracking"),
    )
