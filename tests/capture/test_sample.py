import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_separation.capture import Sample
from lightning_separation.capture.buffers import RowBuffer


def first_of_each(labels, cap):
    """The obvious way."""
    seen, rows = {}, []
    for row, label in enumerate(labels):
        seen[label] = seen.get(label, 0) + 1
        if seen[label] <= cap:
            rows.append(row)
    return rows


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=60), st.integers(1, 5), st.integers(1, 9))
def test_the_first_of_each_class_whatever_the_batches(labels, cap, batch):
    sample = Sample(cap, 100)
    for _ in range(2):  # the second pass finds the same again
        sample.begin()
        found = []
        for start in range(0, len(labels), batch):
            part = torch.tensor(labels[start : start + batch])
            found += (sample.rows(len(part), part) + start).tolist()
        sample.finish()
        assert found == first_of_each(labels, cap) == sample.positions
    assert sample.labels.tolist() == [labels[row] for row in found]


def test_a_pass_that_was_cut_short_chooses_nothing():
    sample = Sample(2, 100)
    sample.begin()
    sample.rows(3, torch.tensor([0, 0, 1]))
    sample.begin()
    sample.rows(2, torch.tensor([5, 5]))
    sample.finish()
    assert sample.positions == [0, 1]
    assert sample.labels.tolist() == [5, 5]


def test_later_passes_end_behind_the_last_sample_and_other_batch_sizes_find_the_same():
    sample = Sample(100, 5)
    sample.begin()
    assert sample.rows(4, None).tolist() == [0, 1, 2, 3]
    assert sample.rows(4, None).tolist() == [0]
    assert not sample.passed
    sample.finish()
    other = Sample(100, 5)
    other.load_state_dict(sample.state_dict())
    other.begin()
    assert [other.rows(3, None).tolist(), other.passed] == [[0, 1, 2], False]
    assert [other.rows(3, None).tolist(), other.passed] == [[0, 1], True]


def test_rows_are_copied_into_one_tensor_that_grows():
    buffer = RowBuffer(2, "mean")
    source = torch.arange(12.0).view(6, 2)
    for part in source.split(2):
        buffer.append(part)
    rows = buffer.rows.clone()
    source.zero_()
    assert torch.equal(buffer.rows, rows)
    assert torch.equal(rows, torch.arange(12.0).view(6, 2))
    assert buffer.row_bytes == 8


def test_axes_that_differ_are_pooled_also_one_after_the_other():
    parts = [torch.rand(2, 3, 4, 5), torch.rand(2, 6, 4, 5), torch.rand(2, 3, 4, 7), torch.rand(1, 2, 4, 1)]
    for pooling, pool in (("mean", lambda x: x.mean((1, 3))), ("max", lambda x: x.amax((1, 3)))):
        buffer = RowBuffer(1, pooling)
        for part in parts:
            buffer.append(part)
        torch.testing.assert_close(buffer.rows, torch.cat([pool(part) for part in parts]))


def test_the_mean_of_equal_numbers_is_that_number_however_many_they_are():
    row = torch.randn(7, generator=torch.Generator().manual_seed(0))
    buffer = RowBuffer(1, "mean")
    for length in (27, 31, 5, 49):
        buffer.append(row.expand(4, length, 7))
    assert torch.equal(buffer.rows, row.expand(16, 7))
