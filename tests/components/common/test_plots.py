"""Drawings stay of a size that can be looked at."""

import numpy as np

from kfp_textclf.components.common import plots


def test_a_matrix_of_many_classes_is_drawn_and_some_are_named() -> None:
    labels = [f"class {number}" for number in range(300)]
    figure = plots.matrix(labels, np.eye(300, dtype=int).tolist())
    assert max(figure.get_size_inches()) < 25
    named = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert named == labels[::5]


def test_every_class_of_few_is_named_and_counted() -> None:
    axis = plots.matrix(["a", "b"], [[3, 1], [0, 2]]).axes[0]
    assert [text.get_text() for text in axis.get_yticklabels()] == ["a", "b"]
    assert sorted(text.get_text() for text in axis.texts) == ["1", "2", "3"]
