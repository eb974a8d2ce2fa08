"""Steps of PyTorch and of Opacus on the same network, if they are installed; their batch is at hand.

- *torch*: forward, backward and SGD of ordinary layers; the base of Opacus' ratios.
- *Opacus*: per-example gradients by hooks.
- *Opacus ghost*: norms first, then a second backward pass of the weighted loss.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from dp_sgd_keras import CLASSES, CLIP, NOISE, RATE
from dp_sgd_turns import THREADS
from opacus import PrivacyEngine

if TYPE_CHECKING:
    from collections.abc import Callable

    from dp_sgd_turns import Setting


def make_step(way: str, setting: Setting) -> Callable[[], None]:
    """One training step of ``way``, ready to be timed."""
    torch.set_num_threads(THREADS)
    generator = np.random.default_rng(0)
    images = torch.from_numpy(
        generator.standard_normal((setting.batch, 3, setting.size, setting.size), dtype=np.float32)
    )
    labels = torch.from_numpy(generator.integers(0, CLASSES, setting.batch))
    model = wide_cnn()
    loss_of = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    if way != "torch":
        batches = torch.utils.data.DataLoader(
            torch.utils.data.TensorDataset(images, labels), batch_size=setting.batch
        )
        made = PrivacyEngine().make_private(
            module=model,
            optimizer=optimizer,
            criterion=loss_of,
            data_loader=batches,
            noise_multiplier=NOISE,
            max_grad_norm=CLIP,
            poisson_sampling=False,
            grad_sample_mode="ghost" if way == "Opacus ghost" else "hooks",
        )
        model, optimizer = made[:2]
        loss_of = made[2] if way == "Opacus ghost" else loss_of

    def step() -> None:
        optimizer.zero_grad()
        loss_of(model(images), labels).backward()
        optimizer.step()

    return step


def wide_cnn() -> torch.nn.Module:
    """The GroupNorm CNN of 242 k parameters of :mod:`dp_sgd_keras`."""
    layers: list[torch.nn.Module] = []
    channels = 3
    for filters, stride in ((32, 2), (64, 1), (64, 2), (128, 2), (96, 2)):
        layers += [
            torch.nn.Conv2d(channels, filters, 3, stride=stride, padding=1, bias=False),
            torch.nn.GroupNorm(8, filters),
            torch.nn.ReLU(),
        ]
        channels = filters
    return torch.nn.Sequential(
        *layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(channels, CLASSES)
    )
