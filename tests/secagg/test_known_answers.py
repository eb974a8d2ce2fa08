"""fedpriv against the vectors in tests/vectors, and the vectors against the slow implementation."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from support import slow
from support.federation import terms_for

from fedpriv.secagg import shares
from fedpriv.secagg.key_agreement import pair_mask, self_mask
from fedpriv.secagg.masks import Mask, add_masks
from fedpriv.secagg.messages import Advertisement, Commitment
from fedpriv.secagg.ring import layout_for, pack, unpack
from fedpriv.secagg.terms import cohort_digest, context_digest, model_digest

FOLDER = Path(__file__).parents[1] / "vectors"


def vector(name):
    return json.loads((FOLDER / f"{name}.json").read_text())


@pytest.mark.parametrize("name", ["pair_seed", "keystream", "mask", "shares", "context", "packing"])
def test_the_files_are_what_the_slow_implementation_computes(name):
    spec = importlib.util.spec_from_file_location("make_vectors", FOLDER / "make.py")
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    assert vector(name) == {"source": make.SOURCE, **make.hexed(make.FILES[name]())}


def test_the_slow_implementation_meets_the_standards():
    seeds, streams = vector("pair_seed"), vector("keystream")
    x, h, a = seeds["x25519"], seeds["hkdf"], streams["aes256_ctr"]
    assert slow.x25519(bytes.fromhex(x["scalar"]), bytes.fromhex(x["u"])).hex() == x["shared"]
    assert slow.hkdf(*(bytes.fromhex(h[part]) for part in ("secret", "salt", "info")), 42).hex() == h["okm"]
    stream = slow.keystream(bytes.fromhex(a["key"]), 16, int(a["counter"], 16))
    plaintext = bytes.fromhex(a["plaintext"])
    assert bytes(p ^ s for p, s in zip(plaintext, stream, strict=True)).hex() == a["ciphertext"]


@pytest.mark.parametrize("case", vector("pair_seed")["cases"], ids=lambda case: case["own"])
def test_pair_seeds(case):
    private = X25519PrivateKey.from_private_bytes(bytes.fromhex(case["private"]))
    mask = pair_mask(
        private,
        bytes.fromhex(case["peer_public"]),
        case["own"],
        case["peer"],
        bytes.fromhex(case["context"]),
    )
    assert mask.seed.hex() == case["seed"]
    assert mask.negative is case["negative"]


@pytest.mark.parametrize("case", vector("keystream")["cases"], ids=lambda case: case["seed"][:6])
def test_keystreams(case):
    words = np.zeros(len(case["stream"]) // 16, dtype=np.uint64)
    add_masks(words, [Mask(bytes.fromhex(case["seed"]))])
    assert words.tobytes().hex() == case["stream"]


def test_a_whole_mask():
    case = vector("mask")
    words = np.array(case["words"], dtype=np.uint64)
    masks = [self_mask(bytes.fromhex(case["self_mask_seed"]), case["own"], bytes.fromhex(case["context"]))]
    masks += [Mask(bytes.fromhex(pair["seed"]), pair["negative"]) for pair in case["pairs"]]
    add_masks(words, masks)
    assert words.tolist() == case["masked"]


@pytest.mark.parametrize("case", vector("shares")["cases"], ids=lambda case: case["secret"][:6])
def test_shares(case, monkeypatch):
    upper = iter([int(value, 16) for value in case["upper_coefficients"]])
    monkeypatch.setattr("fedpriv.secagg.shares.secrets.randbelow", lambda _bound: next(upper))
    secret, xs, t = bytes.fromhex(case["secret"]), case["xs"], case["threshold"]
    made = shares.split(secret, t, xs)
    assert [share.hex() for share in made] == case["shares"]
    assert shares.rebuild(made[-t:], shares.lagrange_weights(xs[-t:])) == secret
    points = {x: int(share, 16) for x, share in zip(xs[-t:], case["shares"][-t:], strict=True)}
    assert slow.secret_of(points).to_bytes(32, "big") == secret


def test_the_context():
    case = vector("context")
    terms = terms_for(
        3,
        run=bytes.fromhex(case["terms"]["run"]),
        round=case["terms"]["round"],
        roster_digest=bytes.fromhex(case["terms"]["roster_digest"]),
        study_digest=bytes.fromhex(case["terms"]["study_digest"]),
        hospitals=("berlin", "oslo", "zurich"),
    )
    model = model_digest(bytes.fromhex(case["model_vector"]))
    assert model.hex() == case["model_digest"]
    cohort = cohort_digest(terms, model, tuple(message(Advertisement, row) for row in case["advertisements"]))
    assert cohort.hex() == case["cohort_digest"]
    commitments = tuple(message(Commitment, row) for row in case["commitments"])
    assert context_digest(cohort, commitments).hex() == case["context"]


def message(kind, row):
    """A message from its fields in order, of which all but the name and the round are hexadecimal."""
    fields = zip(kind.__struct_fields__, row, strict=True)
    return kind(**{k: v if k in {"name", "round"} else bytes.fromhex(v) for k, v in fields})


@pytest.mark.parametrize("case", vector("packing")["cases"], ids=lambda case: f"{case['bits']} bits")
def test_packing(case):
    layout = layout_for(case["bits"], case["hospitals"])
    values = np.array(case["values"], dtype=np.int64)
    words = pack(values, layout)
    assert words.tolist() == case["words"]
    np.testing.assert_array_equal(unpack(words, values.size, layout), values)
