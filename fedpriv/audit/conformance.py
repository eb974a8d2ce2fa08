"""Does the training that is installed on this machine do what the study says? Measured, not read.

The subjects are the trainers of ``fedpriv node start``, run on drawn records: no image of a patient is
needed, and none is looked at. Every check that rests on chance raises a false alarm less than once in a
million runs (`fedpriv.audit.statistics`). Four are needed for the noise alone, since each fault is invisible
to some of them.

*Source*: an epsilon estimated from 1,000 canaries certified half of the noise; these checks find a tenth
missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from fedpriv.audit.bench import Bench
from fedpriv.audit.finding import Finding
from fedpriv.audit.noise_checks import NoiseChecks
from fedpriv.audit.record_checks import RecordChecks
from fedpriv.audit.surroundings_checks import SurroundingsChecks
from fedpriv.study import (
    Images,
    Model,
    Noise,
    Privacy,
    SecureAggregation,
    Study,
    Title,
    Training,
    Unit,
)

if TYPE_CHECKING:
    from collections.abc import Callable


_NOISES: tuple[Noise, ...] = ("local", "distributed")
_UNITS: tuple[Unit, ...] = ("image", "patient")
_IMAGES_PER_PATIENT = 3


class CheckName(StrEnum):
    """What is checked, in the order in which it runs."""

    VARIANCE = "noise variance"
    NORMALITY = "noise normality"
    STEPS = "noise of steps"
    HOSPITALS = "noise of hospitals"
    EMPTY_BATCH = "empty batch"
    SENSITIVITY = "sensitivity"
    CANARY = "canary"
    DIVISOR = "divisor"
    BATCH_SIZES = "batch sizes"
    BROKEN_RECORDS = "broken records"
    NEIGHBOURS = "neighbours"
    LAYERS = "layers"


@dataclass(frozen=True, slots=True)
class Check:
    """``run`` takes seconds; it gives a finding also when the training raises."""

    name: CheckName
    noise: Noise
    unit: Unit
    measure: Callable[[], Finding]

    def run(self) -> Finding:
        """Measure; an exception of whatever is installed here is a check that does not hold."""
        try:
            return self.measure()
        except Exception as error:  # noqa: BLE001 - whatever the subject does is a finding about it
            observed = f"raised {type(error).__name__}: {error}".splitlines()[0]
            return Finding(holds=False, observed=observed, p_value=None, catches="a subject that breaks")


def checks(study: Study) -> list[Check]:
    """Every check of the mechanism of ``study``; StudyError if it adds no noise or none was planned."""
    bench = Bench(study)
    of_noise, record, around = NoiseChecks(bench), RecordChecks(bench), SurroundingsChecks(bench)
    measures: dict[CheckName, Callable[[], Finding]] = {
        CheckName.VARIANCE: of_noise.variance,
        CheckName.NORMALITY: of_noise.normality,
        CheckName.STEPS: of_noise.steps,
        CheckName.HOSPITALS: of_noise.hospitals,
        CheckName.EMPTY_BATCH: of_noise.empty_batch,
        CheckName.SENSITIVITY: record.sensitivity,
        CheckName.CANARY: record.canary,
        CheckName.DIVISOR: record.divisor,
        CheckName.BATCH_SIZES: record.batch_sizes,
        CheckName.BROKEN_RECORDS: record.broken_records,
        CheckName.NEIGHBOURS: around.neighbours,
        CheckName.LAYERS: around.layers,
    }
    return [
        Check(name, study.privacy.noise, study.privacy.unit, measure) for name, measure in measures.items()
    ]


def installed_mechanisms() -> tuple[Study, ...]:
    """A small study of each kind of noise and unit, for an auditor who names none."""
    return tuple(_small_study(noise, unit) for unit in _UNITS for noise in _NOISES)


def _small_study(noise: Noise, unit: Unit) -> Study:
    distributed = noise == "distributed"
    return Study(
        study=Title(
            name=f"conformance of {noise} noise per {unit}", classes=("Benign", "Early", "Pre", "Pro")
        ),
        hospitals=dict.fromkeys(("A", "B", "C"), 32),
        images=Images(size=16),
        model=Model(name="smear-cnn"),
        privacy=Privacy(
            unit=unit,
            images_per_patient=_IMAGES_PER_PATIENT if unit == "patient" else None,
            noise=noise,
            epsilon=8.0,
            delta=1e-5,
            l2_clip_norm=1.0,
            noise_multiplier=1.0,
            levels_per_clip_norm=2**16 if distributed else None,
        ),
        training=Training(
            rounds=1,
            local_steps=1,
            sampling_probability=1.0,
            learning_rate=1.0,
            momentum=0.0,
            update_range=None if distributed else 1.0,
        ),
        secure_aggregation=SecureAggregation(smallest_cohort=2, colluders=0, dropouts=1, bits=32),
    )
