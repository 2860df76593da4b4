"""The component ``select_best``."""

from typing import List, NamedTuple

from kfp import dsl
from kfp.dsl import HTML, Input, Metrics, Model, Output

from kfp_textclf.components import images


@dsl.component(base_image=images.CPU, packages_to_install=[], install_kfp_package=False)
def select_best(
    models: Input[List[Model]],
    best: Output[Model],
    metrics: Output[Metrics],
    report: Output[HTML],
    keep: int = 1,
    metric: str = "matthews_correlation",
    always: str = "",
) -> NamedTuple("Outputs", [("survivors", list), ("winner", str)]):  # type: ignore[valid-type]
    """Rank the candidates of a sweep by their metric on the validation rows, and take the best one's model.

    Ties rank in the order in which they were listed. Candidates that failed are named in the report and left out;
    only when all failed does the step fail.

    Args:
        models: Candidates, as train_candidate leaves them.
        best: The winner's model, and sweep.json: the ranking.
        metrics: Number of candidates, of failed ones, the best metric, and seconds of training.
        report: Table of the candidates, metric by parameter, and how much each parameter matters.
        keep: How many survive into the next round.
        metric: What was measured; of loss less is better.
        always: Name of a candidate that survives whatever its rank.

    Returns:
        survivors: The best candidates as the next round takes them. winner: Name of the best one.
    """
    from collections import namedtuple

    from kfp_textclf.components.common.kfp_outputs import write_metrics, write_text
    from kfp_textclf.components.select import stage

    selection = stage.select_best([model.path for model in models], best.path, keep=keep, metric=metric, always=always)
    best.framework = "pytorch"
    best.metadata.update(selection.metadata())
    write_metrics(metrics, selection.metrics())
    write_text(report, selection.report_html)
    return namedtuple("Outputs", ["survivors", "winner"])(selection.survivors, selection.winner)
