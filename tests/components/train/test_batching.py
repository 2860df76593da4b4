import torch

from kfp_textclf.components.train.batching import NO_LABEL, LengthGroupedBatches, filled_up, pad_batch

BATCH = 16
LENGTHS = torch.randint(5, 60, (2005,), generator=torch.Generator().manual_seed(0)).tolist()


def order(seed: int = 1, epoch: int = 0) -> list[int]:
    sampler = LengthGroupedBatches(LENGTHS, BATCH, seed)
    sampler.set_epoch(epoch)
    return list(sampler)


def batches(rows: list[int]) -> list[list[int]]:
    return [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]


def test_each_row_comes_once_and_the_incomplete_batch_last():
    assert sorted(order()) == list(range(len(LENGTHS)))
    assert [len(batch) for batch in batches(order())[-2:]] == [BATCH, len(LENGTHS) % BATCH]


def test_rows_of_a_batch_have_similar_lengths():
    padded = sum(max(LENGTHS[row] for row in batch) * len(batch) for batch in batches(order()))
    assert padded < 1.06 * sum(LENGTHS)


def test_batches_do_not_come_in_the_order_of_their_lengths():
    means = torch.tensor([sum(LENGTHS[row] for row in batch) / len(batch) for batch in batches(order())])
    neighbours = torch.corrcoef(torch.stack([means[:-1], means[1:]]))[0, 1]
    assert neighbours.abs() < 0.25


def test_order_follows_from_seed_and_epoch_whatever_else_was_drawn():
    first = order(1)
    torch.manual_seed(99)
    assert order(1) == first
    orders = [order(seed, epoch) for seed in (0, 1, 2**32 - 1) for epoch in range(3)]
    assert len({tuple(rows) for rows in orders}) == len(orders)


def test_fillers_come_after_all_rows_and_change_no_order():
    filled = LengthGroupedBatches(LENGTHS, BATCH, 1, fillers=11)
    assert list(filled) == [*order(), *range(2005, 2016)]
    assert len(filled) == 2016


def test_the_last_batch_is_filled_up_with_rows_that_have_no_label():
    rows = [{"input_ids": [3, 4], "labels": 1}] * 13
    filled = filled_up(rows, 8)
    assert filled[:13] == rows
    assert [row["labels"] for row in filled[13:]] == [NO_LABEL] * 3
    assert filled_up(filled, 8) == filled


def test_a_batch_is_filled_up_to_its_longest_row():
    rows = [{"input_ids": [7, 8], "labels": 2}, {"input_ids": [4, 5, 6], "labels": 0}]
    batch = {name: values.tolist() for name, values in pad_batch(rows, padding=1).items()}
    assert batch == {"input_ids": [[7, 8, 1], [4, 5, 6]], "attention_mask": [[1, 1, 0], [1, 1, 1]], "labels": [2, 0]}
