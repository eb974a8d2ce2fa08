"""A federation in one process: real homes, journals, keys and state machines; only the network is a call."""

import itertools
import shutil
from dataclasses import dataclass, replace

import numpy as np
from support.rosters import pin_here, sealed

from fedpriv.coordinator.exchange import LossReason, Lost
from fedpriv.coordinator.home import Deadlines
from fedpriv.coordinator.rounds import Coordinator, journal_heads
from fedpriv.coordinator.run_folder import new_run
from fedpriv.identity import keys
from fedpriv.identity.enrolment import collect, new_request, succeed
from fedpriv.identity.keys import new_identity
from fedpriv.identity.roster import Operator
from fedpriv.identity.rotation import NEXT_FOLDER, rotate
from fedpriv.identity.tls import new_authority
from fedpriv.node.home import Config, Dataset, init_home
from fedpriv.node.hospital import Hospital, Prepared
from fedpriv.node.policy import Policy
from fedpriv.node.training import FixedPoint
from fedpriv.study import dump_study

PARAMETERS = 50
AUTHORITY = new_authority("test")  # slow to make, and no secret of any test


class PlantedTrainer:
    """Stands in for training: always the same update, and a count of how often it was asked."""

    def __init__(self, update):
        self.update = np.asarray(update, dtype=np.float32)
        self.parameters = self.update.size
        self.trained = 0

    def train(self, vector):
        self.trained += 1
        return self.update


def prepare_with(trainer):
    """Prepares every study alike: ``trainer`` gives its update, and no image stands in the register."""
    return lambda study: Prepared(FixedPoint(trainer, study), bytes(32))


@dataclass
class Member:
    """One hospital: its home, its journal and trainer, and the node that answers."""

    home: object
    journal: object
    trainer: PlantedTrainer
    node: Hospital


class MemoryLink:
    """Calls each hospital's handler; ``deaf`` ones are lost at a stage, ``edit`` may change any reply."""

    def __init__(self, members):
        self._members = members
        self.deaf = {}
        self.asked = []
        self.edit = lambda name, request, reply: reply

    def online(self):
        return {name for name in self._members if self.deaf.get(name) != "offline"}

    def ask(self, requests, deadline_s):
        for name, request in requests.items():
            self.asked.append((name, request))
            if self.deaf.get(name) is request.stage:
                yield name, Lost(LossReason.DEADLINE)
            else:
                yield name, self.edit(name, request, self._members[name].node.handle(request))


class MemoryFederation:
    """Everything of one study under ``folder``, ready to run rounds."""

    def __init__(self, folder, study, *, policy=None, datasets=None, identities=None, federation="test"):
        """``identities`` are the hospitals' if they exist already, as do the journals in their homes.

        ``federation`` is its name.
        """
        self.study = study
        self.operator = new_identity("consortium")
        self.identities = identities or {name: new_identity(name) for name in study.names}
        roster = collect(
            federation,
            Operator("consortium", self.operator.signing_public_key, AUTHORITY.certificate_pem),
            [new_request(identity) for identity in self.identities.values()],
        )
        self.roster = sealed(roster, self.operator, *self.identities.values())
        study_path = folder / "study.toml"
        folder.mkdir(parents=True, exist_ok=True)
        study_path.write_text(dump_study(study))
        self.members = {}
        for number, (name, identity) in enumerate(self.identities.items(), start=1):
            self.members[name] = self._member(folder, name, identity, number, policy, datasets, study_path)
        self.link = MemoryLink(self.members)
        self.runs = folder / "runs"
        self.run = new_run(self.runs, study, np.zeros(PARAMETERS, np.float32))
        self.seen = []

    def copy_of(self, name, folder):
        """A backup of the home of ``name`` as it is now."""
        member = self.members[name]
        member.journal.close()
        shutil.copytree(member.home.folder, folder)
        self._reopen(name)

    def restore(self, name, folder):
        """Put a backup in the place of the home of ``name``, and start its node."""
        member = self.members[name]
        member.journal.close()
        shutil.rmtree(member.home.folder)
        shutil.copytree(folder, member.home.folder)
        self._reopen(name)

    def follow(self, *rotating, lost=(), operator=False, without=()):
        """Everybody pins a next roster, in which ``rotating`` have new keys, and starts again.

        ``lost`` are those of them whose old keys are gone, ``without`` are hospitals that do not pin it.
        """
        agree = [self.operator, *(one for name, one in self.identities.items() if name not in lost)]
        requests = []
        for name in rotating:
            folder = self.members[name].home.folder
            if name in lost:
                shutil.rmtree(folder / "identity")
            requests.append(rotate(folder, lost=name if name in lost else None))
            self.identities[name] = keys.load(folder / NEXT_FOLDER)
            agree.append(self.identities[name])
        entry = self.roster.coordinator
        if operator:
            self.operator = new_identity("consortium")
            agree.append(self.operator)
            entry = replace(entry, signing_key=self.operator.signing_public_key)
        self.roster = sealed(succeed(self.roster, entry, requests, lost=lost), *agree)
        for name, member in self.members.items():
            if name not in without:
                member.journal.close()
                pin_here(member.home.folder, self.roster)
                self._reopen(name)

    def _reopen(self, name):
        member = self.members[name]
        journal = member.home.open_journal()
        node = Hospital(member.home, journal, prepare_with(member.trainer))
        self.members[name] = Member(member.home, journal, member.trainer, node)

    def _member(self, folder, name, identity, number, policy, datasets, study_path):
        images = folder / "images"
        images.mkdir(exist_ok=True)
        keys.save(identity, folder / name / "identity")
        pin_here(folder / name, self.roster)
        privacy = self.study.privacy
        home = init_home(
            folder / name,
            Config(
                name=name,
                coordinator="127.0.0.1:9",
                dataset=Dataset(name=(datasets or {}).get(name, f"smears-{name}"), images=str(images)),
                policy=policy
                or Policy(
                    smallest_cohort=2,
                    largest_epsilon=privacy.epsilon,
                    largest_delta=privacy.delta,
                    colluders=self.study.secure_aggregation.colluders,
                    noise=(privacy.noise,),
                ),
            ),
        )
        journal = home.open_journal()
        home.approve(journal, study_path)
        update = np.random.default_rng(number).uniform(-1, 1, PARAMETERS)
        trainer = PlantedTrainer(update)
        return Member(home, journal, trainer, Hospital(home, journal, prepare_with(trainer)))

    def coordinator(self, run=None):
        return Coordinator(
            run=run or self.run,
            link=self.link,
            identity=self.operator,
            roster=self.roster,
            deadlines=Deadlines(join_s=0.01),
            observe=self.seen.append,
            known_heads=journal_heads((run or self.run).lines()),
        )

    def round(self, coordinator=None):
        return (coordinator or self.coordinator()).run_round(1, 1)

    def rounds(self, count):
        coordinator = self.coordinator()
        return list(itertools.starmap(coordinator.run_round, [(n, count) for n in range(1, count + 1)]))

    def events_of(self, name, kind):
        return [row.event for row in self.members[name].journal.rows if isinstance(row.event, kind)]

    def close(self):
        for member in self.members.values():
            member.journal.close()
