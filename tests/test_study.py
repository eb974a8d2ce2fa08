from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.studies import DISTRIBUTED, TEXT, small_study, study_text

from fedpriv.errors import StudyError
from fedpriv.study import dump_study, load_study, parse_study, write_noise_multiplier

CONFIGS = Path(__file__).parent.parent / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_study_of_the_project_says_what_it_is_for_and_parses(path):
    study = load_study(path)
    assert path.read_text().startswith("# For ")
    assert parse_study(dump_study(study), "again") == study


def test_hospitals_are_sorted_and_units_add_up():
    study = small_study(("A = 100\nB = 80", "Z = 100\nB = 80"))
    assert study.names == ("B", "C", "Z")
    assert study.units == 240
    assert study.steps == 8


def test_the_digest_is_a_fixed_function_of_the_content():
    # Known answer: a change here means that every approval of a hospital becomes void.
    assert (
        parse_study(TEXT, "x").digest.hex()
        == "995d00a2191a5dbdfb1ff251d0d056b562ec80e1442471b1e29b4d4c2114e962"
    )


def test_spelling_order_and_comments_do_not_change_the_digest():
    study = parse_study(TEXT, "x")
    for changes in (
        [("epsilon = 8.0", "epsilon = 8")],
        [("delta = 1e-5", "delta = 0.00001")],
        [("A = 100\nB = 80", "B = 80\nA = 100")],
        [("# a comment that must survive planning", "")],
    ):
        assert parse_study(study_text(*changes), "x").digest == study.digest


CHANGES = [
    ('name = "small"', 'name = "smaller"'),
    ('"Early", "Pre"', '"Pre", "Early"'),
    ("A = 100", "A = 101"),
    ("A = 100", "AA = 100"),
    ("size = 64", "size = 65"),
    ("smear-cnn", "other-cnn"),
    ('unit = "image"', 'unit = "patient"\nimages_per_patient = 3'),
    ('noise = "local"', 'noise = "local"\nnoise_multiplier = 1.0'),
    ("epsilon = 8.0", "epsilon = 8.1"),
    ("delta = 1e-5", "delta = 1e-6"),
    ("l2_clip_norm = 1.0", "l2_clip_norm = 1.1"),
    ("rounds = 4", "rounds = 5"),
    ("local_steps = 2", "local_steps = 3"),
    ("sampling_probability = 0.25", "sampling_probability = 0.26"),
    ("learning_rate = 0.5", "learning_rate = 0.6"),
    ("momentum = 0.9", "momentum = 0.8"),
    ("update_range = 1.0", "update_range = 1.1"),
    ("dropouts = 1", "dropouts = 0"),
    ("smallest_cohort = 2\ncolluders = 0\ndropouts = 1", "smallest_cohort = 3\ncolluders = 1\ndropouts = 0"),
    ("bits = 16", "bits = 17"),
    ("momentum = 0.9", "momentum = 0.9\naveraging = 0.5"),
]


def test_every_key_changes_the_digest():
    digests = {parse_study(study_text(change), "x").digest for change in CHANGES}
    assert len(digests | {parse_study(TEXT, "x").digest}) == len(CHANGES) + 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[study]", "[study", "is not TOML: .* line 2"),
        ("[study]", "[studdy]", "unknown section or key: studdy"),
        ("[study]", "stray = 1\n[study]", "unknown section or key: stray"),
        ("rounds = 4", "roundz = 4", r"\[training\] roundz: unknown key"),
        ("rounds = 4", "", r"\[training\] rounds: missing key"),
        ("rounds = 4", "rounds = 0", r"\[training\] rounds: expected `int` >= 1"),
        ("rounds = 4", "rounds = 4.5", r"\[training\] rounds: expected `int`, got `float`"),
        ("epsilon = 8.0", "epsilon = -1", r"\[privacy\] epsilon: expected `float` > 0"),
        ("epsilon = 8.0", "epsilon = 0", r"\[privacy\] epsilon: expected `float` > 0"),
        ("epsilon = 8.0", "epsilon = nan", r"\[privacy\] epsilon: expected `float` > 0"),
        ("delta = 1e-5", "delta = 0.0", r"\[privacy\] delta: expected `float` > 0"),
        ("delta = 1e-5", "delta = 1.0", r"\[privacy\] delta: expected `float` < 1"),
        ("l2_clip_norm = 1.0", "l2_clip_norm = inf", r"\[privacy\] l2_clip_norm: expected `float` <= "),
        (
            "l2_clip_norm = 1.0",
            "l2_clip_norm = 1.0\nnoise_multiplier = -1",
            r"noise_multiplier: expected .* >= 0",
        ),
        (
            "l2_clip_norm = 1.0",
            "l2_clip_norm = 1.0\nnoise_multiplier = inf",
            r"noise_multiplier: expected .* <= ",
        ),
        (
            "sampling_probability = 0.25",
            "sampling_probability = 1.5",
            "sampling_probability: expected .* <= 1",
        ),
        ("learning_rate = 0.5", "learning_rate = nan", "learning_rate: expected"),
        ("momentum = 0.9", "momentum = 1.0", "momentum: expected .* < 1"),
        ("update_range = 1.0", "update_range = -1.0", "update_range: expected .* > 0"),
        ("size = 64", 'size = "64"', r"\[images\] size: expected `int`, got `str`"),
        ("size = 64", "size = 8", r"\[images\] size: expected `int` >= 16"),
        (
            'noise = "local"',
            'noise = "loud"',
            r"\[privacy\] noise: 'loud' is none of local, distributed, none",
        ),
        ('unit = "image"', 'unit = "slide"', r"\[privacy\] unit: 'slide' is none of image, patient"),
        ("bits = 16", "bits = 4", "bits: expected `int` >= 8"),
        ("bits = 16", "bits = 33", "bits: expected `int` <= 32"),
        ("smallest_cohort = 2", "smallest_cohort = 1", "smallest_cohort: expected `int` >= 2"),
        ('"Benign"', '"../x"', r"\[study\] classes\[.*\]: expected `str` matching"),
        ('["Benign", "Early", "Pre", "Pro"]', '["Benign"]', "classes: expected `array` of length >= 2"),
        ("A = 100", "A = 0", r"\[hospitals\] A = 0: declare between 1 and"),
        ("A = 100", "A = 1e3", "hospitals: expected `int`, got `float`"),
        ("A = 100", '"A b" = 1', r"\[hospitals\] 'A b' is not a name"),
    ],
)
def test_a_mistake_is_refused_with_file_section_and_key(old, new, message):
    with pytest.raises(StudyError, match=rf"s\.toml.*{message}") as error:
        parse_study(study_text((old, new)), "s.toml")
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([('"Early"', '"Benign"')], "a class is named twice"),
        ([('unit = "image"', 'unit = "patient"')], 'unit = "patient" needs images_per_patient'),
        (
            [('unit = "image"', 'unit = "image"\nimages_per_patient = 2')],
            'unit = "image" has no images_per_patient',
        ),
        ([("epsilon = 8.0", "epsilon = inf")], 'noise = "local" contradicts epsilon = inf'),
        ([('noise = "local"', 'noise = "none"')], 'noise = "none" contradicts epsilon = 8'),
        (
            [
                ('noise = "local"', 'noise = "none"\nnoise_multiplier = 1.0'),
                ("epsilon = 8.0", "epsilon = inf"),
            ],
            'noise = "none" contradicts noise_multiplier = 1',
        ),
        (
            [('noise = "local"', 'noise = "local"\nnoise_multiplier = 0.0')],
            "contradicts noise_multiplier = 0",
        ),
        (
            [("delta = 1e-5", "delta = 0.005")],
            r"delta = 0\.005 is not below 1 / 240 declared units = 0\.00417",
        ),
        ([('noise = "local"', 'noise = "distributed"')], r"local_steps = 2: .* a round is exactly one step"),
        ([("colluders = 0", "colluders = 2")], "colluders = 2 of 3 hospitals: at least two must not collude"),
        (
            [("colluders = 0", "colluders = 1")],
            r"dropouts = 1, at most n - t = 0: t = 3 is the smallest t with 2 t > n \+ colluders = 3 \+ 1",
        ),
        (
            [("smallest_cohort = 2", "smallest_cohort = 3")],
            r"smallest_cohort = 3 must lie between the threshold t = 2 .* 3 - 1 = 2",
        ),
        (
            [("C = 60", "C = 60\nD = 60\nE = 60"), ("smallest_cohort = 2", "smallest_cohort = 2")],
            r"smallest_cohort = 2 must lie between the threshold t = 3 \(2 t > 5 \+ 0\)",
        ),
        ([("B = 80\nC = 60\n", "")], "colluders = 0 of 1 hospitals"),
        (DISTRIBUTED[1:], 'update_range: .* noise = "local" needs such key'),
        ([*DISTRIBUTED[:2], DISTRIBUTED[3]], 'update_range: .* noise = "distributed" has no such key'),
        (
            [*DISTRIBUTED, ("\nlevels_per_clip_norm = 4096", "")],
            'levels_per_clip_norm: .* noise = "distributed" needs such key',
        ),
        (
            [('noise = "local"', 'noise = "local"\nlevels_per_clip_norm = 4096')],
            'levels_per_clip_norm: .* noise = "local" has no such key',
        ),
        (
            [*DISTRIBUTED, ("= 4096", "= 65536\nnoise_multiplier = 2.0"), ("A = 100", "A = 120")],
            "bits = 24: values hold 111 units of 65536 levels beside the noise, A has 120",
        ),
        (
            [*DISTRIBUTED, ("= 4096", "= 4096\nnoise_multiplier = 0.001")],
            "noise_multiplier: a share of noise has standard deviation",
        ),
    ],
)
def test_contradictions_are_refused_with_their_numbers(changes, message):
    with pytest.raises(StudyError, match=rf"s\.toml: \[.*{message}"):
        parse_study(study_text(*changes), "s.toml")


def test_a_contradiction_in_a_file_names_the_file(tmp_path):
    (tmp_path / "mine.toml").write_text(study_text(("delta = 1e-5", "delta = 0.5")))
    with pytest.raises(StudyError, match=r"mine\.toml: \[privacy\] delta = 0\.5"):
        load_study(tmp_path / "mine.toml")


def test_shared_noise_is_sized_for_survivors_that_do_not_collude():
    shares = small_study(*DISTRIBUTED).noise_shares
    assert (shares.hospitals, shares.dropouts, shares.colluders, shares.fewest_honest) == (3, 1, 0, 2)
    assert (shares.noise_multiplier, shares.levels) == (2.0, 4096)
    with pytest.raises(StudyError, match='noise = "distributed" and no update_range'):
        _ = small_study(*DISTRIBUTED).update_range
    with pytest.raises(StudyError, match='has noise = "local"'):
        _ = small_study().noise_shares


def test_shared_noise_costs_what_one_trusted_trainer_would():
    shared, local = small_study(*DISTRIBUTED), small_study(("local_steps = 2", "local_steps = 1"))
    assert shared.cost_of(rounds=3) == local.cost_of(rounds=3)
    assert shared.digest != local.digest


def test_a_study_without_noise_is_possible_and_says_so():
    study = parse_study(
        study_text(
            ('noise = "local"', 'noise = "none"\nnoise_multiplier = 0.0'), ("epsilon = 8.0", "epsilon = inf")
        ),
        "x",
    )
    assert study.noise_multiplier == 0
    assert parse_study(dump_study(study), "x") == study


@given(hospitals=st.integers(2, 40), colluders=st.integers(0, 38), dropouts=st.integers(0, 40))
@settings(deadline=None)
def test_the_threshold_is_the_smallest_that_is_safe(hospitals, colluders, dropouts):
    lines = "\n".join(f"h{number} = 10" for number in range(hospitals))
    threshold = min(t for t in range(1, 100) if 2 * t > hospitals + colluders)
    text = study_text(
        ("A = 100\nB = 80\nC = 60", lines),
        ("colluders = 0", f"colluders = {colluders}"),
        ("dropouts = 1", f"dropouts = {dropouts}"),
        ("smallest_cohort = 2", f"smallest_cohort = {max(2, threshold)}"),
    )
    if colluders <= hospitals - 2 and dropouts <= hospitals - threshold:
        assert parse_study(text, "x").threshold == threshold
    else:
        with pytest.raises(StudyError):
            parse_study(text, "x")


def test_the_issues_examples_of_thresholds():
    for hospitals, colluders, threshold, dropouts in [
        (5, 1, 4, 1),
        (3, 0, 2, 1),
        (3, 1, 3, 0),
        (10, 1, 6, 4),
    ]:
        lines = "\n".join(f"h{number} = 10" for number in range(hospitals))
        study = small_study(
            ("A = 100\nB = 80\nC = 60", lines),
            ("colluders = 0", f"colluders = {colluders}"),
            ("dropouts = 1", f"dropouts = {dropouts}"),
            ("smallest_cohort = 2", f"smallest_cohort = {threshold}"),
        )
        assert study.threshold == threshold


def test_a_contradiction_made_in_code_is_refused_too():
    study = small_study()
    with pytest.raises(StudyError, match="delta"):
        msgspec.structs.replace(study, privacy=msgspec.structs.replace(study.privacy, delta=0.5))


def test_an_unplanned_study_has_no_noise_multiplier():
    with pytest.raises(StudyError, match="the study small has no noise_multiplier yet") as error:
        _ = parse_study(TEXT, "x").noise_multiplier
    assert "study plan" in error.value.hint


def test_planning_edits_one_line_and_keeps_the_comments():
    once = write_noise_multiplier(TEXT, "x", 1.25)
    assert parse_study(once, "x").noise_multiplier == 1.25
    assert [line for line in once.splitlines() if line not in TEXT.splitlines()] == [
        "noise_multiplier = 1.25"
    ]
    assert once.replace("noise_multiplier = 1.25\n", "") == TEXT
    twice = write_noise_multiplier(once, "x", 2.5)
    assert twice == once.replace("1.25", "2.5")


def test_planning_survives_other_spellings():
    dumped = dump_study(small_study())
    assert parse_study(write_noise_multiplier(dumped, "x", 3.0), "x").noise_multiplier == 3.0


def test_a_file_that_planning_cannot_edit_is_left_to_the_user():
    inline = study_text(
        ("[privacy]                 # of one image\n", "[privacy]\nnoise_multiplier = 1.0 # one\n"),
    ).replace("[privacy]\n", "[ 'privacy' ]\n")
    with pytest.raises(StudyError, match="must be written in by hand"):
        write_noise_multiplier(inline, "x", 2.0)


def test_cost_and_terms_come_from_the_study():
    study = small_study(("dropouts = 1", "dropouts = 0"))
    cost = study.cost_of(rounds=3)
    assert (cost.noise_multiplier, cost.sampling_probability, cost.steps) == (2.0, 0.25, 6)
    terms = study.round_terms(run=bytes(16), round_number=2, roster_digest=bytes(32), parameters=10)
    assert (terms.round, terms.threshold, terms.hospitals) == (2, 2, ("A", "B", "C"))
    assert (terms.study_digest, terms.smallest_cohort) == (study.digest, 2)
    stricter = study.round_terms(
        run=bytes(16), round_number=2, roster_digest=bytes(32), parameters=10, smallest_cohort=3
    )
    assert stricter.smallest_cohort == 3
