"""The component ``compare_dataset``."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Output

from kfp_textclf.components import images


@dsl.component(base_image=images.CPU, packages_to_install=[], install_kfp_package=False)
def compare_dataset(
    dataset: Input[Dataset],
    comparison: Output[Artifact],
    report: Output[HTML],
    champion_uri: str = "",
    checks: dict = {},  # noqa: B006  (KFP records the default; it is never mutated)
    limits: dict = {},  # noqa: B006
):
    """Compare a prepared data set with the one that the champion learned from, before anything is trained on it.

    Shows new and vanished labels, shifted label shares and text lengths, and new, removed and relabelled texts. It is a
    step of its own so that a new champion does not change what prepare and train are cached by.

    Args:
        dataset: The prepared data set.
        comparison: comparison.json: what changed; its metadata is the same without texts.
        report: What changed, and what each check found.
        champion_uri: The published version to compare with; empty for none.
        checks: Level of a check, by its name: error stops here, warn reports, off does not look.
        limits: What a check tolerates, by its name.
    """
    from kfp_textclf.components.common.kfp_outputs import write_text
    from kfp_textclf.components.compare import stage

    compared = stage.compare(dataset.path, comparison.path, champion_uri=champion_uri, checks=checks, limits=limits)
    comparison.metadata.update(compared.metadata())
    write_text(report, compared.report_html)
