"""Studies and deadlines for federations of real processes."""

import msgspec

from fedpriv.cli.study import draft
from fedpriv.coordinator.home import Deadlines
from fedpriv.study import parse_study

CLASSES = ("Benign", "Early", "Pre", "Pro")
QUICK = Deadlines(join_s=90.0, answer_s=20.0, training_s=25.0)


def small_study(*, rounds=8, **training):
    """A study of three hospitals with 24 images each; noise that makes it cheap, steps that make it quick.

    It tolerates a loss, so no colluder.
    """
    study = parse_study(draft("test", dict.fromkeys("ABC", 24), CLASSES), "the study")
    changed = msgspec.structs.replace(study.training, rounds=rounds, local_steps=1, **training)
    rules = msgspec.structs.replace(study.secure_aggregation, smallest_cohort=2, colluders=0, dropouts=1)
    return msgspec.structs.replace(study, training=changed, secure_aggregation=rules).with_noise_multiplier(
        6.0
    )
