import numpy as np
from msgspec.structs import replace

from fedpriv.audit.attack.membership import membership
from fedpriv.audit.attack.row import Role


def test_an_overfitted_model_gives_members_away_and_a_private_one_does_not(study):
    small = replace(study, images=replace(study.images, size=16))
    generator = np.random.default_rng(6)
    cells = generator.random((60, 4, 4, 3)).repeat(4, axis=1).repeat(4, axis=2).astype(np.float32)
    done = []
    rows = list(membership(small, cells, shadows=3, steps=150, on_progress=done.append))
    assert done == list(range(1, 9))
    control = [row for row in rows if row.role is Role.CONTROL]
    subject = [row for row in rows if row.role is Role.SUBJECT]
    assert len(control) == len(subject) == 2
    assert max(row.figures["area_under_curve"] for row in control) > 0.75
    assert all(row.holds for row in subject)
    assert "true_positive_rate" not in rows[0].figures  # 30 non-members measure no rate
    assert rows[-1].subject == "chance"
