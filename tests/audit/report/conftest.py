import functools
import json
from dataclasses import dataclass, replace

import msgspec
import pytest

from fedpriv.audit.bundle import read_bundle
from fedpriv.audit.claims import Claims
from fedpriv.audit.report.attached import Attached, AttachedFile, Conformance
from fedpriv.audit.report.subject import subject_of
from fedpriv.audit.verify import verify
from fedpriv.cli.main import exit_code_of

CHECKS = (
    "noise variance",
    "noise normality",
    "noise of steps",
    "noise of hospitals",
    "empty batch",
    "sensitivity",
    "canary",
    "divisor",
    "batch sizes",
    "broken records",
    "neighbours",
    "layers",
)


def conformance(*, broken=(), noise="local", unit="image", observed="as due"):
    """What `fedpriv audit conformance --json` prints, as far as it is read."""
    return {
        "checks": [
            {
                "noise": noise,
                "unit": unit,
                "check": name,
                "holds": name not in broken,
                "observed": observed,
                "catches": "less",
            }
            for name in CHECKS
        ],
    }


def attached_conformance(name="conformance.json", **what):
    content = msgspec.convert(conformance(**what), Conformance)
    return Attached(conformance=AttachedFile(name, "ab" * 32, content))


@pytest.fixture(scope="module")
def subject(packed, tmp_path_factory):
    """What the honest bundle comes to, or one with other entries or attachments."""
    path = tmp_path_factory.mktemp("desk") / "bundle.zip"

    @functools.cache
    def read(content):
        path.write_bytes(content)
        claims = Claims()
        found = read_bundle(claims, path)
        verdict = verify(claims, found.roster, found.run, found.journals)
        return subject_of(found, verdict, Attached(), fingerprint_compared=False)

    def make(changes=None, **also):
        found = read(packed.sealed(changes or {}))
        return replace(found, **also) if also else found

    return make


def with_study(subject, **sections):
    """``subject`` with keys of its study's sections replaced, whatever they are: nothing is checked."""
    study = subject.study
    parts = {
        name: msgspec.structs.replace(getattr(study, name), **keys)
        for name, keys in sections.items()
        if name != "hospitals"
    }
    study = msgspec.structs.replace(study, **parts)
    return replace(subject, run=replace(subject.run, study=study))


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def report(packed, capsys, tmp_path, monkeypatch):
    """Type `fedpriv audit report` about the honest bundle, or one with other entries, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, changes=None):
        (tmp_path / "bundle.zip").write_bytes(packed.sealed(changes or {}))
        capsys.readouterr()
        code = exit_code_of(["audit", "report", "bundle.zip", *map(str, arguments)])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run
