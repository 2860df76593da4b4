"""The component ``prepare_dataset``."""

from typing import List

from kfp import dsl
from kfp.dsl import HTML, Dataset, Input, Metrics, Output

from kfp_textclf.components import images


@dsl.component(base_image=images.CPU, packages_to_install=[], install_kfp_package=False)
def prepare_dataset(
    raw: Input[Dataset],
    dataset: Output[Dataset],
    metrics: Output[Metrics],
    report: Output[HTML],
    base_model: str,
    train_file: str = "",
    test_file: str = "",
    text_column: str = "text",
    label_column: str = "label",
    header: str = "auto",
    column_order: List[str] = ["label", "text"],  # noqa: B006  (KFP records the default; it is never mutated)
    multi_label: str = "keep",
    min_examples: int = 1,
    unseen_labels: str = "error",
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    max_length: int = 128,
    seed: int = 13,
    checks: dict = {},  # noqa: B006
    limits: dict = {},  # noqa: B006
):
    """Validate, clean, split and tokenise a raw data set.

    Rows are checked one by one and together; what each check found stands in the report, with examples. Duplicates go,
    texts that also stand in the test file leave the training rows, splits are stratified and seeded, and every text is
    tokenised here, on a CPU, so that GPU minutes only train. Memory does not grow with the number of rows.

    Args:
        raw: The pinned files: CSV or TSV with or without a header, JSON Lines, or Parquet.
        dataset: Parquet tables train, validation and test (text, label, input_ids, length), labels.json, the tokenizer,
            and the profile that later data are compared with.
        metrics: Rows per split, classes, and rows dropped by each rule.
        report: What was checked, read, dropped and kept, classes, and text lengths.
        base_model: URI of the model whose tokenizer is used: hf://org/name@revision, s3://bucket/prefix,
            file:///path or package://module.
        train_file: Name of the training file among the raw files; not needed when there is one alone.
        test_file: Name of the held-out file; empty to hold out test_fraction of the training file.
        text_column: Name of the text column.
        label_column: Name of the label column.
        header: Whether the first line names the columns: auto, present or absent.
        column_order: Names of the columns of a file without a header, in order.
        multi_label: What to do with a label such as a#b: keep it as one, keep the first, or drop the row.
        min_examples: Labels with fewer training rows are dropped.
        unseen_labels: What to do with test rows whose label is never in train: error or drop.
        validation_fraction: Share of the training rows kept apart for choices made during training.
        test_fraction: Share of the rows held out when there is no test_file.
        max_length: Longest text in tokens; longer ones are cut.
        seed: Seed of the splits.
        checks: Level of a check, by its name: error stops here, warn reports, off does not look.
        limits: What a check tolerates, by its name, mostly a share of the rows.
    """
    from kfp_textclf.components.common.kfp_outputs import write_metrics, write_text
    from kfp_textclf.components.prepare import readers, stage

    prepared = stage.prepare(
        raw.path,
        dataset.path,
        base_model=base_model,
        train_file=train_file,
        test_file=test_file,
        columns=readers.Columns(text_column, label_column, header, tuple(column_order)),
        multi_label=multi_label,
        min_examples=min_examples,
        unseen_labels=unseen_labels,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        max_length=max_length,
        seed=seed,
        checks=checks,
        limits=limits,
        git_rev=str(raw.metadata.get("git_rev") or ""),
    )
    dataset.metadata.update(prepared.metadata())
    write_metrics(metrics, prepared.metrics())
    write_text(report, prepared.report_html)
