"""Scoring raw text: from strings to class probabilities, and how fast.

Only numpy, tokenizers and onnxruntime are needed here, so that a serving process starts in a fraction of a second.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfp_textclf.components.common.artifacts import read_json
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.hardware import available_cpus

BATCH_SIZE = 32
CALIBRATION = "calibration.json"  # of a model directory
ONNX_FILES = ("model.int8.onnx", "model.int4.onnx", "model.fp16.onnx", "model.onnx")  # in order of preference


class Classifier:
    """Anything that turns texts into class probabilities: an encoder, a temperature, and logits of a padded batch.

    The temperature divides the logits before the softmax. It makes the probabilities those of being right (Guo et al.
    2017, "On Calibration of Modern Neural Networks") and changes no label.
    """

    encoder: "TextEncoder"
    temperature: float = 1.0

    @property
    def labels(self) -> list[str]:
        """Class names."""
        return self.encoder.labels

    def logits(self, batch: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        """Return logits of shape (batch, classes) for model inputs of shape (batch, tokens)."""
        raise NotImplementedError

    def text_logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return logits of shape (texts, classes), rows in the order of ``texts``."""
        result = np.empty((len(texts), len(self.labels)), dtype=np.float32)
        for rows, batch in self.encoder.batches(texts):
            result[rows] = self.logits(batch)
        return result

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return probabilities of shape (texts, classes), rows in the order of ``texts``."""
        return softmax(self.text_logits(texts), self.temperature)


class OnnxClassifier(Classifier):
    """A classifier in a directory: ``model.int8.onnx`` or ``model.onnx``, ``tokenizer.json`` and ``config.json``.

    ``calibration.json``, where there is one, holds the temperature.
    """

    def __init__(self, directory: str | Path, threads: int | None = None) -> None:
        """Open the model.

        Args:
            directory: Where the files lie.
            threads: Threads within one operator; the CPUs that this process may use when not given.

        Raises:
            UserError: A file is missing or unreadable.
        """
        import onnxruntime

        directory = Path(directory)
        self.path = onnx_file(directory)
        self.encoder = TextEncoder(directory)
        self.temperature = read_temperature(directory)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or available_cpus()
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # spinning starves neighbours
        try:
            self.session = onnxruntime.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises bare Exception subclasses without a common base
            raise UserError(f"{self.path}: is not a readable ONNX model ({str(error)[:200]})") from error
        self.inputs = {node.name for node in self.session.get_inputs()}

    def logits(self, batch: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        """Return logits of shape (batch, classes) for model inputs of shape (batch, tokens)."""
        feed = {name: array for name, array in batch.items() if name in self.inputs}
        return np.asarray(self.session.run(["logits"], feed)[0])


class TextEncoder:
    """The tokenizer of a model directory; makes padded batches of texts of similar length."""

    def __init__(self, directory: Path) -> None:
        """Read ``tokenizer.json`` (its truncation included) and the labels and padding of ``config.json``."""
        from tokenizers import Tokenizer

        if not (directory / "tokenizer.json").is_file():
            raise UserError(f"{directory}: holds no tokenizer.json; name the directory of an exported model")
        try:
            self.tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        except Exception as error:  # tokenizers raises bare Exception
            raise UserError(f"{directory / 'tokenizer.json'}: is not a readable tokenizer ({error})") from error
        self.tokenizer.no_padding()
        config = read_json(directory / "config.json")
        try:
            self.pad_id = int(config.get("pad_token_id") or 0)
            self.labels = [config["id2label"][str(i)] for i in range(len(config["id2label"]))]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{directory / 'config.json'}: has no labels under id2label; name the directory of an exported model"
            ) from error

    def batches(self, texts: Sequence[str]) -> Iterator[tuple[NDArray[np.int64], dict[str, NDArray[np.int64]]]]:
        """Yield (row numbers, model inputs) for batches sorted by length, so that little is padding.

        The inputs ``input_ids`` and ``attention_mask`` have shape (batch, longest text of the batch).
        """
        ids = [encoding.ids for encoding in self.tokenizer.encode_batch_fast(list(texts))]
        order = np.argsort([len(row) for row in ids], kind="stable")
        for start in range(0, len(order), BATCH_SIZE):
            rows = order[start : start + BATCH_SIZE]
            yield rows, pad([ids[row] for row in rows], self.pad_id)


@dataclass(frozen=True)
class Scored:
    """What a classifier answered, and how fast.

    Attributes:
        logits: Shape (rows, classes).
        probabilities: The same shape, calibrated.
        latency_ms_p50: Median time of one text alone, raw text in, label out, in milliseconds.
        latency_ms_p99: 99th percentile of the same.
        rows_per_second: Throughput over all rows, batched.
    """

    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    latency_ms_p50: float
    latency_ms_p99: float
    rows_per_second: float

    @property
    def speed(self) -> dict[str, float]:
        """The three speed figures by name."""
        names = ("latency_ms_p50", "latency_ms_p99", "rows_per_second")
        return {name: getattr(self, name) for name in names}


def score(classifier: Classifier, texts: Sequence[str], latency_samples: int = 200) -> Scored:
    """Score all texts in batches, then some of them one by one, and time both."""
    classifier.probabilities(texts[:BATCH_SIZE])  # warm-up: allocations and kernel selection
    started = time.perf_counter()
    logits = classifier.text_logits(texts)
    probabilities = softmax(logits, classifier.temperature)
    seconds = time.perf_counter() - started
    step = max(1, len(texts) // latency_samples)
    latencies = [_milliseconds(classifier, text) for text in texts[::step]]
    return Scored(
        logits=logits,
        probabilities=probabilities,
        latency_ms_p50=float(np.percentile(latencies, 50)),
        latency_ms_p99=float(np.percentile(latencies, 99)),
        rows_per_second=len(texts) / seconds,
    )


def _milliseconds(classifier: Classifier, text: str) -> float:
    started = time.perf_counter()
    int(classifier.probabilities([text])[0].argmax())
    return (time.perf_counter() - started) * 1000


def pad(rows: Sequence[Sequence[int]], pad_id: int) -> dict[str, NDArray[np.int64]]:
    """Return ``input_ids`` and ``attention_mask`` of shape (rows, longest row), at least one column."""
    lengths = np.array([len(row) for row in rows])
    mask = (np.arange(max(lengths.max(), 1)) < lengths[:, None]).astype(np.int64)
    ids = np.full(mask.shape, pad_id, dtype=np.int64)
    ids[mask == 1] = np.concatenate([np.asarray(row, dtype=np.int64) for row in rows])
    return {"input_ids": ids, "attention_mask": mask}


def softmax(logits: NDArray[Any], temperature: float = 1.0) -> NDArray[Any]:
    """Return the softmax of ``logits / temperature`` over the last axis, in the precision of the logits."""
    exponents = np.exp((logits - logits.max(axis=-1, keepdims=True)) / temperature)
    return exponents / exponents.sum(axis=-1, keepdims=True)


def read_temperature(directory: Path) -> float:
    """Return the temperature in ``calibration.json`` of a model directory; 1 for a model without that file.

    Raises:
        UserError: The file holds no temperature.
    """
    path = directory / CALIBRATION
    if not path.exists():
        return 1.0
    try:
        temperature = float(read_json(path)["temperature"])
    except (KeyError, TypeError, ValueError):
        temperature = math.nan
    if not 0 < temperature < math.inf:
        raise UserError(f"{path}: holds no temperature above 0; export the model again")
    return temperature


def onnx_file(directory: Path) -> Path:
    """Return the ONNX file of a model directory, the quantised one before the other.

    Raises:
        UserError: There is none.
    """
    for name in ONNX_FILES:
        if (directory / name).is_file():
            return directory / name
    raise UserError(
        f"{directory}: holds neither {ONNX_FILES[0]} nor {ONNX_FILES[-1]}; name the directory of an exported model"
    )
