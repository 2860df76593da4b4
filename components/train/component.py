"""The component ``train_classifier``."""

from kfp import dsl
from kfp.dsl import HTML, Dataset, Input, Metrics, Model, Output

from kfp_textclf.components import images


@dsl.component(base_image=images.GPU, packages_to_install=[], install_kfp_package=False)
def train_classifier(
    dataset: Input[Dataset],
    model: Output[Model],
    metrics: Output[Metrics],
    report: Output[HTML],
    base_model: str,
    epochs: int = 4,
    batch_size: int = 16,
    learning_rate: float = 2e-4,
    warmup_ratio: float = 0.1,
    weight_decay: float = 0.0,
    freeze_embeddings: bool = True,
    class_weights: str = "none",
    early_stopping_patience: int = 2,
    metric_for_best_model: str = "matthews_correlation",
    precision: str = "auto",
    seed: int = 13,
    checkpoint_uri: str = "",
    checkpoint_steps: int = 200,
    processes: int = 0,
    prices: dict = {},  # noqa: B006  (KFP records the default; it is never mutated)
):
    """Fine-tune a Hugging Face encoder; the weights of the best epoch by the validation rows are kept.

    Batches hold texts of similar length and are padded to their own longest text only; bfloat16 is used where the
    hardware has it. Weights are read and written as safetensors alone.

    A step that is killed and retried, or a run that is repeated, resumes from the newest checkpoint below
    checkpoint_uri and ends with the same weights as an undisturbed one (on a CPU bit for bit). SIGTERM ends it at the
    next step, after a checkpoint, with exit code 143.

    Args:
        dataset: A prepared data set.
        model: The fine-tuned model: save_pretrained files, the tokenizer, training.json.
        metrics: Validation metrics of the epoch that was kept, tokens, seconds, and an estimate of energy and cost.
        report: Loss and metric curves.
        base_model: URI of the base model: hf://org/name@revision, s3://bucket/prefix, file:///path or package://module.
        epochs: Passes over the training rows.
        batch_size: Rows per step.
        learning_rate: Peak learning rate, after a linear warm-up and before a linear decay.
        warmup_ratio: Share of the steps spent warming up.
        weight_decay: Weight decay of AdamW.
        freeze_embeddings: Keep the base model's embeddings as they are.
        class_weights: Weight of a class in the loss: none, balanced (inverse to its rows) or sqrt of that.
        early_stopping_patience: Epochs without improvement before training stops; 0 to train them all.
        metric_for_best_model: Metric that chooses the epoch: accuracy, macro_f1, matthews_correlation,
            balanced_accuracy, weighted_f1, loss, or f1/LABEL for that of one class.
        precision: bf16, fp32, or auto: bf16 where the hardware multiplies in it.
        seed: Seed of the new head, of dropout and of the order of rows.
        checkpoint_uri: Where checkpoints are kept until the step is done, file:///directory (a mounted volume too) or
            s3://bucket/prefix; empty for nowhere.
        checkpoint_steps: The most steps of work that are lost when the step is killed.
        processes: Processes that each batch is divided among; 0 for one for each GPU.
        prices: For the estimate of energy and cost: cpu_core_hour, watts_per_core, and by the name of the GPU gpu_hour
            and gpu_watts; what is not there is not estimated.
    """
    from kfp_textclf.components.common.kfp_outputs import write_metrics, write_text
    from kfp_textclf.components.train import checkpoints, settings, stage

    trained = stage.train(
        dataset.path,
        model.path,
        base_model=base_model,
        settings=settings.TrainSettings(
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            warmup_ratio=warmup_ratio,
            weight_decay=weight_decay,
            freeze_embeddings=freeze_embeddings,
            class_weights=class_weights,
            early_stopping_patience=early_stopping_patience,
            metric_for_best_model=metric_for_best_model,
            precision=precision,
            seed=seed,
            processes=processes,
        ),
        checkpoint_uri=checkpoint_uri,
        checkpoint_steps=checkpoint_steps,
        prices=prices,
        model_uri=model.uri,
    )
    model.framework = "pytorch"
    model.metadata.update(trained.metadata())
    write_metrics(metrics, trained.metrics())
    write_text(report, trained.report_html)
    checkpoints.discard(trained.checkpoint_uri)  # last: until here a killed step need not train again
