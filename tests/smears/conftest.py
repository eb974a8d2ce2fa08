import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedpriv.smears.generate import generate


@pytest.fixture(scope="session")
def smears(tmp_path_factory):
    """A generated federation: 2 hospitals, 8 patients each, 2 images each."""
    folder = tmp_path_factory.mktemp("generated") / "smears"
    return generate(folder, hospitals=2, patients_per_hospital=8, images_per_patient=2, seed=3)


@pytest.fixture
def class_folders(tmp_path):
    """Two classes, X and Y, with two tiny images each, all different."""
    root = tmp_path / "images"
    for number, name in enumerate(("X/a.png", "X/b.jpg", "Y/c.bmp", "Y/d.tiff")):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((70, 80, 3), 40 + 50 * number, np.uint8)).save(path)
    return root


@pytest.fixture(scope="session")
def real_smears():
    """The folder of real smears, if this machine has one."""
    folder = os.environ.get("FEDPRIV_REAL_SMEARS")
    if not folder:
        pytest.skip("FEDPRIV_REAL_SMEARS names no folder of real smears")
    return Path(folder)
