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
):
    """Export a fine-tuned model to ONNX, store each weight once, quantise it to int8, and calibrate both.

    The fp32 graph must answer as torch does, every matrix multiplication with a weight must be quantised, and no file
    may be larger than what it was made from; otherwise the step fails. A temperature of
    its own, fitted on the validation rows, makes the probabilities of each those of being right.

    Args:
        model: A fine-tuned model.
        dataset: The prepared data set that it was trained on; comparison with torch and calibration use its rows.
        onnx: The fp32 model: model.onnx, tokenizer, config.json, calibration.json, export.json, and torch's own
            answers in reference.json and reference_logits.npy.
        onnx_int8: The int8 model: model.int8.onnx, tokenizer, config.json, calibration.json, export.json.
        metrics: Sizes, largest difference to torch, agreement of int8 with fp32, temperatures.
        opset: ONNX operator set.
    """
    import time

    from kfp_textclf.components.common.kfp_outputs import write_metrics
    from kfp_textclf.components.export import stage

    started = time.perf_counter()
    exported = stage.export(model.path, dataset.path, onnx.path, onnx_int8.path, opset=opset)
    onnx.framework = onnx_int8.framework = "onnx"
    seconds = time.perf_counter() - started
    onnx.metadata.update(exported.metadata("onnx"), seconds=seconds)
    onnx_int8.metadata.update(exported.metadata("onnx_int8"), seconds=seconds)
    write_metrics(metrics, exported.metrics())
