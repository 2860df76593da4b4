"""Scoring raw text with an exported model."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stage_inputs import CITIES, rewritten
from support import tiny_rows

from kfp_textclf.components.common.encoding import BATCH_TOKENS, Encoded, TextEncoder, pad
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.scoring import OnnxClassifier, onnx_file, score, softmax

TEMPERATURES = ("0", "-1", "1e-320", "Infinity", "NaN", "null", "true", '"2"', f"1{'0' * 400}")  # unusable
CONFIG = {"id2label": {"0": "fare", "1": "flight", "2": "meal"}}
TEXTS = [text for _, text in tiny_rows(CITIES[:8])]


def test_rows_keep_the_order_of_the_texts(exported: SimpleNamespace) -> None:
    classifier = OnnxClassifier(exported.onnx)
    together = classifier.probabilities(TEXTS)
    alone = np.concatenate([classifier.probabilities([text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert len(np.unique(alone.round(4), axis=0)) > 3, "texts that all score alike would prove nothing"


def test_rows_are_probabilities(exported: SimpleNamespace) -> None:
    probabilities = OnnxClassifier(exported.int8).probabilities(TEXTS)
    assert probabilities.shape == (len(TEXTS), 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert (probabilities >= 0).all()


def test_temperature_changes_probabilities_and_no_label(exported: SimpleNamespace, tmp_path: Path) -> None:
    found = {}
    for name, content in (("none", None), ("flat", '{"temperature": 4.0}'), ("sharp", '{"temperature": 0.5}')):
        model = rewritten(exported.int8, tmp_path / name, {"calibration.json": content})
        found[name] = OnnxClassifier(model).probabilities(TEXTS)
    logits = OnnxClassifier(exported.int8).text_logits(TEXTS)
    np.testing.assert_array_equal(found["none"], softmax(logits))
    np.testing.assert_allclose(found["flat"], softmax(logits / 4), atol=1e-6)
    assert (found["flat"].max(axis=1) < found["none"].max(axis=1)).all()
    assert (found["sharp"].max(axis=1) >= found["none"].max(axis=1)).all()
    for probabilities in found.values():
        np.testing.assert_array_equal(probabilities.argmax(axis=1), logits.argmax(axis=1))


def test_labels_are_those_of_the_config(exported: SimpleNamespace) -> None:
    assert OnnxClassifier(exported.int8).labels == ["fare", "flight", "meal"]


@pytest.mark.parametrize("text", ["", " ", "\n", "🛫" * 50, "word " * 5000, "\u202eevil"])
def test_any_text_gets_an_answer(exported: SimpleNamespace, text: str) -> None:
    assert np.isfinite(OnnxClassifier(exported.int8).probabilities([text])).all()


def test_no_texts_get_no_rows(exported: SimpleNamespace) -> None:
    assert OnnxClassifier(exported.int8).probabilities([]).shape == (0, 3)


def test_texts_are_what_they_are_in_training(exported: SimpleNamespace) -> None:
    """Where white space and the form of Unicode are tokens of their own, others would be answered than was judged."""
    from tokenizers import pre_tokenizers

    encoder = TextEncoder(exported.int8)
    encoder.tokenizer.normalizer = None
    encoder.tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "isolated")
    composed, loose = encoder.encode(["book a caf\u00e9 flight", "  book\ta  cafe\u0301\nflight "]).ids
    assert composed == loose


def test_long_texts_are_cut_where_the_training_cut_them(exported: SimpleNamespace) -> None:
    encoded = TextEncoder(exported.int8).encode(["flight " * 1000])
    assert [encoded.padded(rows)["input_ids"].shape for rows in encoded.batches()] == [(1, 32)]


@given(st.lists(st.integers(0, 600), max_size=20))
def test_batches_hold_every_row_once_and_few_tokens(lengths: list[int]) -> None:
    encoded = Encoded([[1] * length for length in lengths], 0, 0.0)
    batches = encoded.batches()
    assert sorted(row for rows in batches for row in rows.tolist()) == list(range(len(lengths)))
    for rows in batches:
        assert len(rows) == 1 or encoded.padded(rows)["input_ids"].size <= BATCH_TOKENS
    longest = [max(lengths[row] for row in rows) for rows in batches]
    assert longest == sorted(longest, reverse=True)


def test_workers_answer_as_one_thread_does(exported: SimpleNamespace) -> None:
    texts = TEXTS * 20
    alone = OnnxClassifier(exported.int8, threads=1).text_logits(texts)
    np.testing.assert_array_equal(OnnxClassifier(exported.int8, threads=3).text_logits(texts), alone)


def test_classifiers_of_one_tokenizer_share_its_work(exported: SimpleNamespace) -> None:
    known: dict[str, Encoded] = {}
    score(OnnxClassifier(exported.onnx), TEXTS, 2, known)
    (encoded,) = known.values()
    classifier = OnnxClassifier(exported.int8)
    scored = score(classifier, TEXTS, 2, known)
    assert list(known.values()) == [encoded]
    np.testing.assert_array_equal(scored.logits, classifier.text_logits(TEXTS))


def test_int8_model_is_preferred(exported: SimpleNamespace, tmp_path: Path) -> None:
    assert onnx_file(exported.onnx).name == "model.onnx"
    (tmp_path / "model.onnx").touch()
    (tmp_path / "model.int8.onnx").touch()
    assert onnx_file(tmp_path).name == "model.int8.onnx"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.int8.onnx": None}, r"holds neither model\.int8\.onnx nor model\.onnx; name the directory"),
        ({"model.int8.onnx": b"no graph"}, r"model\.int8\.onnx: is not a readable ONNX model"),
        ({"tokenizer.json": None}, r"holds no tokenizer\.json; name the directory of an exported model"),
        ({"tokenizer.json": "{"}, r"tokenizer\.json"),
        ({"config.json": None}, r"config\.json: cannot be read"),
        ({"config.json": "{"}, r"config\.json: is not valid JSON"),
        ({"config.json": "{}"}, r"config\.json"),
        ({"config.json": json.dumps({"id2label": {"0": "a", "2": "b"}})}, r"config\.json"),
        *(
            (
                {"config.json": json.dumps({"id2label": labels})},
                r"config\.json: has no labels under id2label, a text for",
            )
            for labels in (
                None,
                {},
                ["a"],
                *({**CONFIG["id2label"], "1": label} for label in (None, 1, ["b"], "\ud800")),
            )
        ),
        *(
            ({"config.json": json.dumps({"id2label": labels})}, r"gives logits of shape \(1, 3\), not \(1, [24]\)")
            for labels in ({"0": "a", "1": "b"}, {**CONFIG["id2label"], "3": "d"})
        ),
        *(
            (
                {"config.json": json.dumps({**CONFIG, "pad_token_id": number})},
                r"config\.json: pad_token_id=.* no token id",
            )
            for number in ("x", 10**30)
        ),
        *(
            (
                {"calibration.json": text},
                r"calibration\.json: holds no temperature from 0\.001 to 1000; export the model",
            )
            for text in ("{}", "[]", *(f'{{"temperature": {value}}}' for value in TEMPERATURES))
        ),
    ],
    ids=[
        "no model",
        "broken model",
        "no tokenizer",
        "broken tokenizer",
        "no config",
        "broken config",
        "config without labels",
        "labels with a gap",
        "labels are null",
        "labels are empty",
        "labels are a list",
        "label is null",
        "label is a number",
        "label is a list",
        "label is half a character",
        "too few labels",
        "too many labels",
        "padding is a text",
        "padding is huge",
        "no temperature",
        "calibration is a list",
        *(f"temperature {value}" for value in TEMPERATURES),
    ],
)
def test_unusable_model_is_refused(exported: SimpleNamespace, tmp_path: Path, changes: dict, message: str) -> None:
    broken = rewritten(exported.int8, tmp_path / "model", changes)
    with pytest.raises(UserError, match=message):
        OnnxClassifier(broken)


def test_token_that_the_model_does_not_know_is_one_line(
    exported: SimpleNamespace, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tokenizer = json.loads((exported.int8 / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["model"]["vocab"]["fare"] = 5000
    model = rewritten(exported.int8, tmp_path / "model", {"tokenizer.json": json.dumps(tokenizer)})
    with pytest.raises(UserError, match=r"model\.int8\.onnx: cannot answer \(indices .*5000.*\); its files may be of"):
        OnnxClassifier(model).probabilities(["fare"])
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("asked", "answered", "message"),
    [
        ("token_type_ids", "logits", r"cannot answer \(Required inputs \(\['token_type_ids'\]\) are missing"),
        ("attention_mask", "embedding", r"cannot answer \(.*Invalid output name:logits\)"),
    ],
)
def test_onnx_file_of_another_kind_is_refused(
    exported: SimpleNamespace, tmp_path: Path, asked: str, answered: str, message: str
) -> None:
    import onnx

    numbers, value = onnx.TensorProto.INT64, onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Add", ["input_ids", asked], [answered])],
        "other",
        [value(name, numbers, ["batch", "sequence"]) for name in ("input_ids", asked)],
        [value(answered, numbers, ["batch", "sequence"])],
    )
    other = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    model = rewritten(exported.int8, tmp_path / "model", {"model.int8.onnx": other.SerializeToString()})
    with pytest.raises(UserError, match=message):
        OnnxClassifier(model)


def test_speed_is_measured(exported: SimpleNamespace) -> None:
    scored = score(OnnxClassifier(exported.int8), TEXTS, latency_samples=10)
    assert scored.probabilities.shape == (len(TEXTS), 3)
    assert 0 < scored.latency_ms_p50 <= scored.latency_ms_p99
    assert scored.rows_per_second > 0
    assert set(scored.speed) == {"latency_ms_p50", "latency_ms_p99", "rows_per_second"}


@given(st.lists(st.lists(st.integers(1, 99), max_size=9), min_size=1, max_size=9))
def test_padding_surrounds_the_ids_and_the_mask_tells(rows: list[list[int]]) -> None:
    batch = pad(rows, pad_id=0)
    assert batch["input_ids"].shape == (len(rows), max(1, *map(len, rows)))
    assert [ids[mask == 1].tolist() for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)] == (
        rows
    )
    assert (batch["input_ids"][batch["attention_mask"] == 0] == 0).all()


def test_softmax_of_large_logits_is_finite() -> None:
    np.testing.assert_allclose(softmax(np.array([[1e4, 1e4], [0.0, -1e4]])), [[0.5, 0.5], [1.0, 0.0]])
