"""A whole masked sum in memory: hospitals, a coordinator, and a wire that tests can cut."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedpriv.secagg.coordinator import CoordinatorRound
from fedpriv.secagg.hospital import HospitalRound
from fedpriv.secagg.messages import Envelope, Stage
from fedpriv.secagg.terms import RoundTerms

RUN = b"0123456789abcdef"
MODEL = np.arange(30, dtype="<f4")


@cache
def signing_key(name: str) -> Ed25519PrivateKey:
    """One key a name, the same in the whole test session."""
    return Ed25519PrivateKey.generate()


def public_key(name: str) -> bytes:
    return signing_key(name).public_key().public_bytes_raw()


def terms_for(count: int, **changes: object) -> RoundTerms:
    """Terms for ``count`` hospitals, no colluders, the smallest threshold and every dropout it allows."""
    colluders = changes.pop("colluders", 0)
    threshold = changes.pop("threshold", (count + colluders) // 2 + 1)
    hospitals = tuple(f"h{number:04d}" for number in range(count))
    defaults = {
        "run": RUN,
        "round": 1,
        "roster_digest": b"R" * 32,
        "study_digest": b"S" * 32,
        "hospitals": hospitals,
        "threshold": threshold,
        "colluders": colluders,
        "dropouts": count - threshold,
        "smallest_cohort": threshold,
        "parameters": MODEL.size,
    }
    return RoundTerms(**(defaults | changes))


@dataclass
class Federation:
    """Real state machines of both sides; ``hospital_class`` may be a weakened one."""

    terms: RoundTerms
    hospital_class: type[HospitalRound] = HospitalRound
    last_round: int = 0
    coordinator: CoordinatorRound = field(init=False)
    hospitals: dict[str, HospitalRound] = field(init=False)
    values: dict[str, np.ndarray] = field(init=False)
    seeds: dict[str, bytes] = field(init=False)
    replies: dict[tuple[Stage, str], Envelope] = field(init=False, default_factory=dict)

    def __post_init__(self):
        names = self.terms.hospitals
        self.restart()
        generator = np.random.default_rng(20)
        self.values = {
            name: generator.integers(0, 2**self.terms.bits, self.terms.parameters) for name in names
        }
        self.values[names[0]][:] = 2**self.terms.bits - 1

    def restart(self) -> None:
        """Begin the same round with new machines on both sides."""
        self.coordinator = CoordinatorRound(
            terms=self.terms, roster=self.roster, signing_key=signing_key("coordinator")
        )
        self.hospitals = {name: self.hospital(name) for name in self.terms.hospitals}
        self.seeds = {name: machine._keys.self_mask_seed for name, machine in self.hospitals.items()}

    @property
    def roster(self):
        return {name: public_key(name) for name in self.terms.hospitals}

    @property
    def model(self) -> bytes:
        return np.resize(MODEL, self.terms.parameters).tobytes()

    def hospital(self, name: str, **changes) -> HospitalRound:
        return self.hospital_class(
            **{
                "name": name,
                "signing_key": signing_key(name),
                "roster": self.roster,
                "coordinator_key": public_key("coordinator"),
                "terms": self.terms,
                "journal_head": name.encode().ljust(32, b"."),
                "last_round": self.last_round,
            }
            | changes
        )

    def answer(self, name: str, request: Envelope) -> Envelope:
        """What hospital ``name`` replies to ``request``."""
        hospital = self.hospitals[name]
        match request.stage:
            case Stage.ADVERTISE:
                return hospital.advertise(request)
            case Stage.SHARE:
                return hospital.share(request)
            case Stage.UPLOAD:
                return hospital.upload(request, lambda: self.values[name])
            case Stage.AGREE:
                return hospital.agree(request)
            case Stage.UNMASK:
                return hospital.unmask(request)
            case Stage.CLOSE:
                return hospital.close(request, b"H" * 32)

    def exchange(self, requests, lost=()) -> None:
        """Every hospital but the lost ones answers its request and the coordinator takes the reply."""
        for name, request in requests.items():
            if name not in lost:
                reply = self.answer(name, request)
                self.replies[request.stage, name] = reply
                self.coordinator.receive(name, reply)

    def run_to(self, stage: Stage, lost=None):
        """The requests of ``stage``, with the hospitals of ``lost`` [stage] missing in the stages before."""
        lost = lost or {}
        requests = self.coordinator.open(self.model)
        for earlier in range(stage):
            self.exchange(requests, lost.get(Stage(earlier), ()))
            requests = self.coordinator.advance()
        return requests

    def run(self, lost=None) -> np.ndarray:
        """The whole round up to the opened sum; hospitals are lost before they answer in a stage."""
        requests = self.run_to(Stage.UNMASK, lost)
        self.exchange(requests, (lost or {}).get(Stage.UNMASK, ()))
        return self.coordinator.total()

    def expected(self, names) -> np.ndarray:
        return sum(self.values[name] for name in names)
