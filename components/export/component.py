"""The component ``export_onnx``."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Model, Output

from kfp_textclf.components import images


@dsl.component(base_image=images.EXPORT, packages_to_install=[], install_kfp_package=False)
def export_onnx(
    model: Input[Model],
    dataset: Input[Dataset],
    onnx: Output[Model],
    onnx_int8: Output[Model],
    metrics: Output[Metrics],
    opset: int = 17,
    variants: list = ["int8"],  # noqa: B006  (KFP records the default; it is never mutated)
    min_int8_agreement: float = 0.0,
):
    """Export a fine-tuned model to ONNX, store each weight once, quantise it to int8, and calibrate both.

    The fp32 graph must answer as torch does, every matrix multiplication with a weight must be quantised, and no file
    may be larger than its kind can be; otherwise the step fails. A temperature of its own, fitted on the validation
    rows, makes the probabilities of each variant those of being right.

    Args:
        model: A fine-tuned model.
        dataset: The prepared data set that it was trained on; comparison with torch and calibration use its rows.
        onnx: The fp32 model: model.onnx, tokenizer, config.json, calibration.json, export.json, and torch's own
            answers in reference.json and reference_logits.npy.
        onnx_int8: The int8 model: model.int8.onnx, tokenizer, config.json, calibration.json, export.json; and each
            further variant in a directory of its name.
        metrics: Sizes, largest difference to torch, agreement of each variant with fp32, temperatures.
        opset: ONNX operator set.
        variants: What may be published: int8, and if wanted int4 (weights of 4 bits: smallest), fp16 (for GPUs), fp32.
        min_int8_agreement: Share of the validation rows on which int8 must answer as fp32 does: the layers that matter
            most stay in fp32 until it does; 0 quantises them all.
    """
    import time

    from kfp_textclf.components.common.kfp_outputs import write_metrics
    from kfp_textclf.components.export import stage

    started = time.perf_counter()
    exported = stage.export(
        model.path,
        dataset.path,
        onnx.path,
        onnx_int8.path,
        opset=opset,
        variants=variants,
        min_int8_agreement=min_int8_agreement,
    )
    onnx.framework = onnx_int8.framework = "onnx"
    seconds = time.perf_counter() - started
    onnx.metadata.update(exported.metadata("onnx"), seconds=seconds)
    onnx_int8.metadata.update(exported.metadata("onnx_int8"), seconds=seconds)
    write_metrics(metrics, exported.metrics())
