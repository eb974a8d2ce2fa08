"""Small studies, planned or not, made from one text so that every test sees a whole file."""

from __future__ import annotations

from fedpriv.study import Study, parse_study

TEXT = """\
# a comment that must survive planning
[study]
name = "small"
classes = ["Benign", "Early", "Pre", "Pro"]

[hospitals]
A = 100
B = 80
C = 60

[images]
size = 64

[model]
name = "smear-cnn"

[privacy]                 # of one image
unit = "image"
noise = "local"
epsilon = 8.0
delta = 1e-5
l2_clip_norm = 1.0

[training]
rounds = 4
local_steps = 2
sampling_probability = 0.25
learning_rate = 0.5
momentum = 0.9
update_range = 1.0

[secure_aggregation]
smallest_cohort = 2
colluders = 0
dropouts = 1
bits = 16
"""

ENOUGH_NOISE = 2.0
"""More than the studies here need for epsilon 8 over four rounds of two steps."""

DISTRIBUTED = (
    ('noise = "local"', 'noise = "distributed"\nlevels_per_clip_norm = 4096'),
    ("local_steps = 2", "local_steps = 1"),
    ("update_range = 1.0\n", ""),
    ("bits = 16", "bits = 24"),
)
"""The same study with noise that hospitals share."""

FULL_BATCH = ("sampling_probability = 0.25", "sampling_probability = 1.0")


def study_text(*changes: tuple[str, str]) -> str:
    """The text with each (old, new) replaced; every old must be there."""
    text = TEXT
    for old, new in changes:
        if old not in text:
            raise ValueError(f"{old!r} is not in the study")
        text = text.replace(old, new, 1)
    return text


def small_study(*changes: tuple[str, str]) -> Study:
    """The study with each (old, new) replaced in its text, and enough noise."""
    return parse_study(study_text(*changes), "small.toml").with_noise_multiplier(ENOUGH_NOISE)
