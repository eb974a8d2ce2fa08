import csv
import io

import numpy as np
import pytest

from fedpriv.audit.attack.probabilities import write_table


def test_a_row_an_image_in_full_precision():
    probabilities = np.array([[0.1, 0.9], [1 / 3, 2 / 3]])
    text = write_table(["a.png", "b, c.png"], [True, False], np.array([1, 0]), probabilities, ("No", "Yes"))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0]) == ["image", "member", "label", "p_No", "p_Yes"]
    assert rows[1]["image"] == "b, c.png"
    assert [row["member"] for row in rows] == ["1", "0"]
    assert float(rows[1]["p_No"]) == 1 / 3


def test_a_missing_row_is_no_table():
    with pytest.raises(ValueError, match="zip"):
        write_table(["a.png"], [True, False], np.array([1]), np.ones((1, 1)), ("A",))
