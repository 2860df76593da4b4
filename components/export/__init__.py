"""Export a classifier to ONNX, shrink it and quantise it to int8."""
