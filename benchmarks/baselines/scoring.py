"""How others answer: the baselines of ``benchmarks/scoring.py`` and ``benchmarks/predict.py``.

python benchmarks/baselines/scoring.py DIRECTORY TEXT      labels one text with transformers and torch
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

LENGTH = 128  # tokens that the tutorial pads every text to


class RowByRow:
    """The tutorial's way: a session as it comes, every text padded to 128 tokens, one text at a time.

    The tutorial tokenises with transformers; the library below it, used here, is faster.
    """

    def __init__(self, directory: Path, file: str = "model.onnx") -> None:
        """Open an fp32 model and its tokenizer."""
        import onnxruntime
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        self.tokenizer.enable_truncation(LENGTH)
        self.tokenizer.enable_padding(length=LENGTH)
        self.labels = json.loads((directory / "config.json").read_text(encoding="utf-8"))["id2label"]
        self.session = onnxruntime.InferenceSession(directory / file, providers=["CPUExecutionProvider"])

    def label(self, text: str) -> str:
        """Return the label of a text."""
        import numpy as np

        encoding = self.tokenizer.encode(text)
        inputs = {"input_ids": np.array([encoding.ids]), "attention_mask": np.array([encoding.attention_mask])}
        logits: Any = self.session.run(["logits"], inputs)[0]
        return self.labels[str(int(logits[0].argmax()))]

    def label_all(self, texts: Iterable[str]) -> list[str]:
        """Return the labels of texts."""
        return [self.label(text) for text in texts]


def predict_with_transformers(directory: str, text: str) -> str:
    """Return the label of a text, by the model that the training wrote."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForSequenceClassification.from_pretrained(directory).eval()
    with torch.no_grad():
        logits = model(**tokenizer(text, return_tensors="pt")).logits
    return model.config.id2label[int(logits.argmax())]


if __name__ == "__main__":
    print(predict_with_transformers(*sys.argv[1:]))
