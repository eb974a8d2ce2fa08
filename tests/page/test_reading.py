import pytest

from fedpriv.page.reading import (
    LEAST_CONFIDENCE,
    CannotTell,
    Outcome,
    Probability,
    Reading,
    Refusal,
    reading_of,
    status_of,
)
from fedpriv.smears.decode import Flaw

CLASSES = ("Benign", "Early", "Pre", "Pro")


def test_probabilities_are_rounded_and_stand_in_the_order_of_the_study():
    reading = reading_of(CLASSES, [0.012345, 0.0949, 0.876543, 0.016212])
    assert reading == Reading(
        (
            Probability("Benign", 0.01),
            Probability("Early", 0.09),
            Probability("Pre", 0.88),
            Probability("Pro", 0.02),
        ),
        "Pre",
    )


def test_below_the_stated_confidence_no_class_is_named_and_at_it_one_is():
    below = LEAST_CONFIDENCE - 1e-9
    assert reading_of(CLASSES, [below, 1 - below, 0, 0]).top is None
    assert reading_of(CLASSES, [below, 1 - below, 0, 0]).cannot_tell is CannotTell.LOW_CONFIDENCE
    assert reading_of(CLASSES, [LEAST_CONFIDENCE, 1 - LEAST_CONFIDENCE, 0, 0]).top == "Benign"


def test_the_class_is_chosen_before_rounding():
    assert reading_of(("A", "B"), [0.6049, 0.6051]).top == "B"


def test_what_is_recorded_never_names_a_class():
    read = Outcome("x", reading=reading_of(CLASSES, [1, 0, 0, 0]))
    unsure = Outcome("x", reading=reading_of(CLASSES, [0.25] * 4))
    assert [read.code, unsure.code] == ["read", "low_confidence"]
    assert Outcome("x", refusal=Refusal.DAMAGED).code == "damaged"


def test_every_flaw_of_a_file_has_a_refusal_and_every_refusal_a_status():
    assert {str(flaw) for flaw in Flaw} <= {str(refusal) for refusal in Refusal}
    for refusal in Refusal:
        assert 400 <= status_of([Outcome("x", refusal=refusal)]) < 500


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_one_readable_image_makes_the_answer_a_success(order):
    outcomes = (
        Outcome("x", refusal=Refusal.EMPTY),
        Outcome("y", reading=reading_of(CLASSES, [1, 0, 0, 0])),
    )
    assert status_of([outcomes[number] for number in order]) == 200
