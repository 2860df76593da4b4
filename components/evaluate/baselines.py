"""The cheap classifiers that a fine-tuned transformer must beat."""

from collections import Counter
from collections.abc import Sequence


def majority(train_labels: Sequence[str], rows: int) -> list[str]:
    """Answer the most frequent training label for every row."""
    return [Counter(sorted(train_labels)).most_common(1)[0][0]] * rows


def tfidf_svm(train_texts: Sequence[str], train_labels: Sequence[str], texts: Sequence[str]) -> list[str]:
    """Answer by a linear support vector machine on TF-IDF of words and word pairs."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    # Any run of characters is a word, so that texts of single letters or of scripts without word boundaries have some.
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\S+")  # noqa: S106  (no password)
    pipeline = make_pipeline(vectorizer, LinearSVC(random_state=0))
    return pipeline.fit(train_texts, train_labels).predict(texts).tolist()
