"""Counts of labels and predictions, one by one."""

import torch

from mixskd_mm.evaluation import confusion_matrix, most_confused


def test_rows_are_labels(by_brightness):
    # Predicted: 0, 0, 1, 2, 2, 1.
    classifier = by_brightness([10, 20, 110, 190, 255, 90], [0, 1, 1, 2, 0, 1])
    assert confusion_matrix(classifier, 3).tolist() == [[1, 0, 1], [1, 2, 0], [0, 0, 1]]


def test_most_confused_first_and_only_what_is_confused():
    matrix = torch.tensor([[9, 2, 0], [5, 8, 1], [0, 0, 7]])
    assert most_confused(matrix) == [(1, 0, 5), (0, 1, 2), (1, 2, 1)]
    assert most_confused(matrix, count=2) == [(1, 0, 5), (0, 1, 2)]
    assert matrix[0, 0] == 9
