"""What becomes of one row."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.texts import normalise
from kfp_textclf.components.prepare.cleaning import require_policies, single_label


def test_leading_spaces_and_runs_of_white_space_go() -> None:
    assert normalise(" a \t b\n\u00a0") == "a b"


def test_unicode_is_composed_so_that_equal_texts_are_equal() -> None:
    assert normalise("cafe\u0301") == normalise("caf\u00e9") == "caf\u00e9"


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@pytest.mark.parametrize(("policy", "label"), [("keep", "x#y"), ("first", "x"), ("drop", "")])
def test_multi_intents_by_policy(policy: str, label: str) -> None:
    assert single_label("x#y", policy) == label


def test_label_that_begins_with_the_separator_is_kept_whole() -> None:
    assert single_label("#y", "first") == "#y"


def test_unknown_policy_is_refused() -> None:
    with pytest.raises(UserError, match="multi_label='split': is not one of keep, first, drop"):
        require_policies("split", "error")
    with pytest.raises(UserError, match="unseen_labels='ignore': is not one of error, drop"):
        require_policies("keep", "ignore")
