"""The cheap classifiers that a transformer must beat."""

import pytest
from stage_inputs import CITIES
from support import tiny_rows

from kfp_textclf.components.evaluate.baselines import majority, tfidf_svm

LABELS, TEXTS = zip(*tiny_rows(CITIES[:6]), strict=True)


def test_majority_answers_the_most_frequent_label() -> None:
    assert majority(["a", "b", "b"], 3) == ["b", "b", "b"]


def test_majority_does_not_depend_on_the_order_of_rows() -> None:
    assert majority(["b", "a"], 1) == majority(["a", "b"], 1) == ["a"]


def test_svm_learns_the_words() -> None:
    labels, texts = zip(*tiny_rows(CITIES[6:9]), strict=True)
    assert tfidf_svm(TEXTS, LABELS, texts) == list(labels)


def test_svm_answers_the_same_every_time() -> None:
    assert tfidf_svm(TEXTS, LABELS, ["on"] * 3) == tfidf_svm(TEXTS, LABELS, ["on"] * 3)


@pytest.mark.parametrize("texts", [["a", "b", "c"], ["?", "!", "..."], ["明日", "今日", "昨日"]])
def test_texts_without_words_of_letters_have_features(texts: list[str]) -> None:
    assert tfidf_svm(texts, ["x", "y", "z"], texts) == ["x", "y", "z"]
