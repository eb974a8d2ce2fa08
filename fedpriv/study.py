"""The study file: everything that the hospitals of a federation agree on, before anything is trained.

A hospital approves a study by its digest. Every number that decides what is sent, how it is hidden and what
it costs is here; none is ever received from the coordinator. Each key is checked alone (type, range, no
unknown key), then against the others: numbers that contradict each other are refused with the numbers.
"""

from __future__ import annotations

import hashlib
import math
import re
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from fedpriv.dp.accounting import PrivacyEvent
from fedpriv.dp.noise_shares import NoiseShares
from fedpriv.errors import IdentityError, StudyError
from fedpriv.identity.keys import check_name
from fedpriv.secagg.terms import RoundTerms
from fedpriv.toml_files import dump_toml, parse_toml, read_toml

if TYPE_CHECKING:
    from pathlib import Path

Unit: TypeAlias = Literal["image", "patient"]
Noise: TypeAlias = Literal["local", "distributed", "none"]

Count = Annotated[int, Meta(ge=1, le=1_000_000_000)]
Probability = Annotated[float, Meta(gt=0, le=1)]
# Infinity passes `gt`, so every float that must be finite is bounded above.
Positive = Annotated[float, Meta(gt=0, le=1e9)]
Label = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _-]{0,63}$")]

_MOST_UNITS = 1_000_000_000
_MOST_STEPS = 1_000_000  # composing more takes the accountant minutes
_DIGEST_LABEL = b"fedpriv-study-v1"
_NOISE_LINE = re.compile(r"^[ \t]*noise_multiplier[ \t]*=.*$\n?", re.MULTILINE)
_PRIVACY_HEADER = re.compile(r"^[ \t]*\[[ \t]*privacy[ \t]*\].*$\n?", re.MULTILINE)


class Title(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[study]``: its name, and the classes in the order of the network's outputs."""

    name: Label
    classes: Annotated[tuple[Label, ...], Meta(min_length=2, max_length=100)]


class Images(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[images]``: fixed preprocessing; nothing is computed from data."""

    size: Annotated[int, Meta(ge=16, le=512)]


class NetworkName(StrEnum):
    """The networks that a study can name; `fedpriv.model.network` builds them."""

    SMEAR_CNN = "smear-cnn"
    HISTOGRAM_CNN = "histogram-cnn"
    HISTOGRAM_CNN_WIDE = "histogram-cnn-wide"


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[model]``: the name of an architecture that every hospital has installed."""

    name: Label


class Privacy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[privacy]``: what is protected, by which noise, and the claim over all rounds.

    ``noise_multiplier``, the noise's standard deviation over the clipping norm, is written by
    ``fedpriv study plan``; with distributed noise it is that of the smallest sum, less what the tolerated
    colluders added. ``levels_per_clip_norm`` (distributed noise only) are the integer steps of a gradient.
    """

    unit: Unit
    noise: Noise
    epsilon: Annotated[float, Meta(gt=0)]
    delta: Annotated[float, Meta(gt=0, lt=1)]
    l2_clip_norm: Positive
    images_per_patient: Count | None = None
    noise_multiplier: Annotated[float, Meta(ge=0, le=1e5)] | None = None
    levels_per_clip_norm: Annotated[int, Meta(ge=2**8, le=2**24)] | None = None


class Training(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[training]``: the steps of the optimizer.

    ``local_steps`` are taken by each hospital in each round. ``update_range`` (not with distributed noise) is
    the largest absolute coordinate of an update that is sent, the range of its fixed-point code. The
    published model is an average over rounds if ``averaging``, the weight of the past, is above 0.
    """

    rounds: Count
    local_steps: Count
    sampling_probability: Probability
    learning_rate: Positive
    momentum: Annotated[float, Meta(ge=0, lt=1)]
    update_range: Positive | None = None
    averaging: Annotated[float, Meta(ge=0, lt=1)] = 0.0


class SecureAggregation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[secure_aggregation]``: whom the masked sum withstands, and how fine its fixed-point code is."""

    smallest_cohort: Annotated[int, Meta(ge=2)]
    colluders: Annotated[int, Meta(ge=0)]
    dropouts: Annotated[int, Meta(ge=0)]
    bits: Annotated[int, Meta(ge=8, le=32)]


class Study(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole study; ``hospitals`` maps a name to the units it declares, a public constant.

    Weights and expected batches come from the declared units, never from data. StudyError is raised for
    any contradiction, also when a Study is made in code.
    """

    study: Title
    hospitals: dict[str, int]
    images: Images
    model: Model
    privacy: Privacy
    training: Training
    secure_aggregation: SecureAggregation

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "hospitals", dict(sorted(self.hospitals.items())))
        _check_names(self)
        _check_privacy(self)
        _check_cohort(self)
        _check_code(self)

    @property
    def digest(self) -> bytes:
        """SHA-256 (32 bytes) of the canonical encoding: equal exactly for equal studies."""
        return hashlib.sha256(_DIGEST_LABEL + msgspec.msgpack.encode(self)).digest()

    @property
    def names(self) -> tuple[str, ...]:
        """The hospitals' names, sorted."""
        return tuple(self.hospitals)

    @property
    def network(self) -> NetworkName:
        """The network of ``[model] name``; StudyError if this version knows none like it."""
        try:
            return NetworkName(self.model.name)
        except ValueError:
            raise StudyError(
                f"the study {self.study.name}: [model] name: there is no network {self.model.name!r} here",
                hint=f"choose from: {', '.join(NetworkName)}",
            ) from None

    @property
    def units(self) -> int:
        """The declared units of all hospitals together."""
        return sum(self.hospitals.values())

    @property
    def threshold(self) -> int:
        """The smallest t with 2t > n + c: so many hospitals must agree before anything is unmasked."""
        return (len(self.hospitals) + self.secure_aggregation.colluders) // 2 + 1

    @property
    def steps(self) -> int:
        """Noisy steps on each hospital's data over the whole study."""
        return self.training.rounds * self.training.local_steps

    @property
    def noise_multiplier(self) -> float:
        """The planned noise multiplier; StudyError while there is none."""
        if self.privacy.noise_multiplier is None:
            raise StudyError(
                f"the study {self.study.name} has no noise_multiplier yet", hint="run `fedpriv study plan`"
            )
        return self.privacy.noise_multiplier

    @property
    def update_range(self) -> float:
        """The largest absolute coordinate of an update; StudyError with distributed noise."""
        if self.training.update_range is None:
            raise StudyError(
                f'the study {self.study.name} has noise = "{self.privacy.noise}" and no update_range'
            )
        return self.training.update_range

    @property
    def noise_shares(self) -> NoiseShares:
        """How hospitals share the noise; StudyError unless it is distributed and planned."""
        if self.privacy.levels_per_clip_norm is None:
            raise StudyError(f'the study {self.study.name} has noise = "{self.privacy.noise}"')
        rules = self.secure_aggregation
        try:
            return NoiseShares(
                hospitals=len(self.hospitals),
                dropouts=rules.dropouts,
                colluders=rules.colluders,
                noise_multiplier=self.noise_multiplier,
                levels=self.privacy.levels_per_clip_norm,
            )
        except ValueError as error:
            raise _ContradictionError(f"[privacy] noise_multiplier: {error}") from error

    def cost_of(self, rounds: int) -> PrivacyEvent:
        """What so many rounds cost each unit of a hospital.

        Distributed noise costs what the same Gaussian of one trusted trainer does
        (`fedpriv.dp.noise_shares`).
        """
        return PrivacyEvent(
            noise_multiplier=self.noise_multiplier,
            sampling_probability=self.training.sampling_probability,
            steps=rounds * self.training.local_steps,
        )

    def round_terms(
        self,
        *,
        run: bytes,
        round_number: int,
        roster_digest: bytes,
        parameters: int,
        smallest_cohort: int = 0,
    ) -> RoundTerms:
        """The terms of one round of this study; a stricter ``smallest_cohort`` of a hospital's own wins."""
        rules = self.secure_aggregation
        return RoundTerms(
            run=run,
            round=round_number,
            roster_digest=roster_digest,
            study_digest=self.digest,
            hospitals=self.names,
            threshold=self.threshold,
            colluders=rules.colluders,
            dropouts=rules.dropouts,
            smallest_cohort=max(smallest_cohort, rules.smallest_cohort),
            parameters=parameters,
            bits=rules.bits,
        )

    def with_noise_multiplier(self, noise_multiplier: float) -> Study:
        """The same study with this noise multiplier."""
        privacy = msgspec.structs.replace(self.privacy, noise_multiplier=noise_multiplier)
        return msgspec.structs.replace(self, privacy=privacy)


def load_study(path: Path) -> Study:
    """The study in the file ``path``; StudyError naming the file, the section and the key."""
    try:
        return read_toml(path, Study, StudyError)
    except _ContradictionError as error:
        raise StudyError(f"{path}: {error.message}", hint=error.hint) from error


def parse_study(text: str, source: str) -> Study:
    """The study in ``text``; ``source`` is the name of the file in messages."""
    try:
        return parse_toml(text, source, Study, StudyError)
    except _ContradictionError as error:
        raise StudyError(f"{source}: {error.message}", hint=error.hint) from error


def dump_study(study: Study) -> str:
    """``study`` as TOML; parsing it gives an equal study."""
    return dump_toml(study)


def write_noise_multiplier(text: str, source: str, noise_multiplier: float) -> str:
    """The study file ``text`` with its noise multiplier set; comments and order stay as they are."""
    wanted = parse_study(text, source).with_noise_multiplier(noise_multiplier)
    bare = _NOISE_LINE.sub("", text)
    edited = _PRIVACY_HEADER.sub(
        lambda header: f"{header[0]}noise_multiplier = {noise_multiplier!r}\n", bare, 1
    )
    if parse_study(edited, source) != wanted:
        raise StudyError(f"{source}: noise_multiplier = {noise_multiplier!r} must be written in by hand")
    return edited


class _ContradictionError(StudyError):
    """Keys that are each fine, but not together."""


def _check_names(study: Study) -> None:
    classes = study.study.classes
    if len(set(classes)) < len(classes):
        raise _ContradictionError(f"[study] classes: a class is named twice in {', '.join(classes)}")
    for name, units in study.hospitals.items():
        try:
            check_name(name)
        except IdentityError as error:
            raise _ContradictionError(f"[hospitals] {error.message}") from error
        if not 1 <= units <= _MOST_UNITS:
            raise _ContradictionError(
                f"[hospitals] {name} = {units}: declare between 1 and {_MOST_UNITS} units"
            )


def _check_privacy(study: Study) -> None:
    privacy = study.privacy
    if (privacy.unit == "patient") != (privacy.images_per_patient is not None):
        raise _ContradictionError(
            f'[privacy] unit = "{privacy.unit}" {"needs" if privacy.unit == "patient" else "has no"} '
            "images_per_patient"
        )
    noiseless = privacy.noise == "none"
    if noiseless != math.isinf(privacy.epsilon):
        raise _ContradictionError(
            f'[privacy] noise = "{privacy.noise}" contradicts epsilon = {privacy.epsilon:g}',
            hint='without noise there is no finite epsilon: noise = "none" goes with epsilon = inf only',
        )
    if privacy.noise_multiplier is not None and noiseless != (privacy.noise_multiplier == 0):
        raise _ContradictionError(
            f'[privacy] noise = "{privacy.noise}" contradicts noise_multiplier = {privacy.noise_multiplier:g}'
        )
    if study.steps > _MOST_STEPS:
        raise _ContradictionError(
            f"[training] rounds x local_steps = {study.steps} steps: at most {_MOST_STEPS} can be composed"
        )
    if privacy.delta * study.units >= 1:
        raise _ContradictionError(
            f"[privacy] delta = {privacy.delta:g} is not below 1 / {study.units} declared units "
            f"= {1 / study.units:.3g}: it would allow to publish one unit outright",
            hint="1e-5, or a tenth of 1 / units if that is smaller",
        )
    if privacy.noise == "distributed" and study.training.local_steps != 1:
        raise _ContradictionError(
            f'[training] local_steps = {study.training.local_steps}: with noise = "distributed" a round is '
            "exactly one step"
        )


def _check_cohort(study: Study) -> None:
    hospitals, rules = len(study.hospitals), study.secure_aggregation
    place = "[secure_aggregation]"
    if rules.colluders > hospitals - 2:
        raise _ContradictionError(
            f"{place} colluders = {rules.colluders} of {hospitals} hospitals: at least two must not collude, "
            "or the sum less the colluders' own updates is one hospital's update"
        )
    if rules.dropouts > hospitals - study.threshold:
        raise _ContradictionError(
            f"{place} dropouts = {rules.dropouts}, at most n - t = {hospitals - study.threshold}: t = "
            f"{study.threshold} is the smallest t with 2 t > n + colluders = {hospitals} + {rules.colluders}"
        )
    if not study.threshold <= rules.smallest_cohort <= hospitals - rules.dropouts:
        raise _ContradictionError(
            f"{place} smallest_cohort = {rules.smallest_cohort} must lie between the threshold t = "
            f"{study.threshold} (2 t > {hospitals} + {rules.colluders}) and the hospitals less dropouts, "
            f"{hospitals} - {rules.dropouts} = {hospitals - rules.dropouts}"
        )


def _check_code(study: Study) -> None:
    """How updates become integers: by range where they are floats, by levels where they are integer sums."""
    distributed = study.privacy.noise == "distributed"
    for key, value, needed in (
        ("[privacy] levels_per_clip_norm", study.privacy.levels_per_clip_norm, distributed),
        ("[training] update_range", study.training.update_range, not distributed),
    ):
        if (value is not None) != needed:
            raise _ContradictionError(
                f'{key}: [privacy] noise = "{study.privacy.noise}" {"needs" if needed else "has no"} such key'
            )
    if distributed and study.privacy.noise_multiplier is not None:
        most, bits = (
            study.noise_shares.most_units(study.secure_aggregation.bits),
            study.secure_aggregation.bits,
        )
        largest = max(study.hospitals, key=study.hospitals.__getitem__)
        if study.hospitals[largest] > most:
            raise _ContradictionError(
                f"[secure_aggregation] bits = {bits}: values hold {most} units of "
                f"{study.privacy.levels_per_clip_norm} levels beside the noise, {largest} has "
                f"{study.hospitals[largest]}",
                hint="more bits (28 to 32), or fewer levels_per_clip_norm",
            )
