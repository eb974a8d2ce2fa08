"""What the doctor's page takes: the classes of the model in Python, images a second, and 50 users at once.

The floor is the model itself in this process, on the same images, decoded and read in batches. The page runs
in processes of its own, with one worker. Real smears where FEDPRIV_REAL_SMEARS names a folder, drawn ones
otherwise; a given model (`--model RUN`), or one with random weights, which costs the same.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import numpy as np
import psutil
from support.page import PASSWORD, RunningPage, drawn_smear, start_page, tiny_run

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGES = 550
SINGLE = 200
USERS = 50
SECONDS = 60
PER_MINUTE = 30
IN_FLIGHT = 4
IN_ONE_REQUEST = 8


def main() -> None:
    """Run both parts, print them, write them to ``--out``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="a run or a model folder")
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--seconds", type=int, default=SECONDS)
    parser.add_argument("--out", type=Path, default=Path("measured/page.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        run = options.model or tiny_run(Path(scratch) / "run")
        images = smears(options.images)
        result = {
            "cores": os.cpu_count(),
            "images": len(images),
            "real smears": "FEDPRIV_REAL_SMEARS" in os.environ,
            "speed": speed(Path(scratch) / "speed", run, images),
            "users": many_users(Path(scratch) / "users", run, images, options.seconds),
        }
    print(json.dumps(result, indent=2))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")


def smears(count: int) -> list[bytes]:
    """``count`` files: of the test split where there are real ones, drawn otherwise."""
    folder = os.environ.get("FEDPRIV_REAL_SMEARS")
    if folder is None:
        return [drawn_smear(seed) for seed in range(count)]
    paths = sorted(Path(folder).glob("*/*.jpg"))
    return [path.read_bytes() for path in paths[:: max(1, len(paths) // count)][:count]]


def speed(folder: Path, run: Path, images: list[bytes]) -> dict[str, object]:
    """Part one: every image through the page, some one by one and all in a few requests at once."""
    expected, floor = in_python(run, images)
    page = start_page(folder, run, *limits(10**6))
    try:
        browser = page.browser()
        browser.log_in()
        for image in images[:20]:
            browser.upload(("warm.png", image))
        single = []
        for image in images[:SINGLE]:
            begin = time.perf_counter()
            browser.upload(("single.png", image))
            single.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        found = in_requests(page, images, IN_ONE_REQUEST)
        batched = len(images) / (time.perf_counter() - begin)
        begin = time.perf_counter()
        alone = in_requests(page, images, 1)
        one_by_one = len(images) / (time.perf_counter() - begin)
    finally:
        page.stop()
    return {
        "classes named": sum(one is not None for one in found),
        "classes other than in Python": sum(
            one not in (None, want) for one, want in zip(found, expected, strict=True)
        ),
        "not named though sure, or named though unsure": sum(
            (one is None) != (want is None) for one, want in zip(found, expected, strict=True)
        ),
        "answers that differ alone and in company": sum(
            one != other for one, other in zip(found, alone, strict=True)
        ),
        f"images a second, {IN_ONE_REQUEST} a request": round(batched, 1),
        "images a second, one a request": round(one_by_one, 1),
        "images a second in Python": round(floor, 1),
        "single upload ms": {
            "median": round(1000 * float(np.median(single)), 1),
            "95 %": round(1000 * float(np.percentile(single, 95)), 1),
        },
    }


def in_python(run: Path, images: list[bytes]) -> tuple[list[str | None], float]:
    """The class of each image by the model in this process, None where it is unsure; images a second."""
    from fedpriv.model import evaluate
    from fedpriv.model.folder import find_model_folder, load_model
    from fedpriv.model.network import restore
    from fedpriv.page.reading import LEAST_CONFIDENCE
    from fedpriv.smears.decode import decode_stream

    saved = load_model(find_model_folder(run))
    model = restore(saved)
    size = saved.card.image_size
    evaluate.predict(model, np.ones((64, size, size, 3), np.float32))
    begin = time.perf_counter()
    pixels = np.stack([decode_stream(io.BytesIO(image), "x", size) for image in images])
    rows = evaluate.predict(model, pixels)
    rate = len(images) / (time.perf_counter() - begin)
    return [
        saved.card.classes[int(row.argmax())] if row.max() >= LEAST_CONFIDENCE else None for row in rows
    ], rate


def in_requests(page: RunningPage, images: list[bytes], size: int) -> list[str | None]:
    """The class that the page names for each image, ``size`` a request, `IN_FLIGHT` requests at a time."""
    found: list[str | None] = [None] * len(images)
    starts = list(range(0, len(images), size))

    def work() -> None:
        browser = page.browser()
        browser.log_in()
        while starts:
            try:
                start = starts.pop()
            except IndexError:
                return
            answer = browser.upload(
                *((f"{n}.png", images[n]) for n in range(start, min(start + size, len(images))))
            )
            for number, outcome in enumerate(answer.json["outcomes"], start):
                found[number] = outcome["reading"]["top"]
        browser.close()

    in_threads(work, IN_FLIGHT)
    return found


def many_users(folder: Path, run: Path, images: list[bytes], seconds: int) -> dict[str, object]:
    """Part two: users who never pause, with the limit of one minute that real ones would have."""
    names = tuple(f"user{number}" for number in range(USERS))
    page = start_page(folder, run, *limits(PER_MINUTE), users=names[:1])
    add_users(page.home, names[1:])
    statuses: Counter[int] = Counter()
    times: list[float] = []
    memory: list[int] = []
    waiting = list(names)
    try:
        browsers = []
        for name in names:
            browsers.append(page.browser())
            assert browsers[-1].log_in(name).status == 302
        end = time.monotonic() + seconds

        def work() -> None:
            browser = browsers[names.index(waiting.pop())]
            while time.monotonic() < end:
                begin = time.perf_counter()
                answer = browser.upload(("x.png", random.choice(images)))
                times.append(time.perf_counter() - begin)
                statuses[answer.status] += 1
            browser.close()

        def watch() -> None:
            while time.monotonic() < end:
                memory.append(resident(page))
                time.sleep(1)

        watcher = Thread(target=watch)
        watcher.start()
        in_threads(work, USERS)
        watcher.join()
    finally:
        page.stop()
    half = len(memory) // 2
    return {
        "users": USERS,
        "seconds": seconds,
        "answers": {str(status): count for status, count in sorted(statuses.items())},
        "answers a second": round(sum(statuses.values()) / seconds, 1),
        "ms, 95 %": round(1000 * float(np.percentile(times, 95))),
        "MB at first": memory[0] >> 20,
        "MB, largest of the first half": max(memory[:half]) >> 20,
        "MB, largest of the second half": max(memory[half:]) >> 20,
        "MB at last": memory[-1] >> 20,
    }


def add_users(home: Path, names: tuple[str, ...]) -> None:
    """Add users in one process; Django can be set up once in a process, and never in this one."""
    code = (
        "import sys; from pathlib import Path; from fedpriv.page import settings, users;"
        " from fedpriv.page.config import PageConfig;"
        " settings.set_up(PageConfig(home=Path(sys.argv[1])));"
        " [users.add_user(name, sys.argv[2], operator=False) for name in sys.argv[3:]]"
    )
    subprocess.run([sys.executable, "-c", code, str(home), PASSWORD, *names], check=True)


def resident(page: RunningPage) -> int:
    """Bytes of memory that all processes of the page hold."""
    main = psutil.Process(page.process.pid)
    return sum(process.memory_info().rss for process in (main, *main.children(recursive=True)))


def limits(images: int) -> tuple[str, ...]:
    """The options for so many images a minute, and no limit a day."""
    return ("--images-per-minute", str(images), "--images-per-day", str(10**7))


def in_threads(work: Callable[[], None], count: int) -> None:
    """Do ``work`` in ``count`` threads at once."""
    threads = [Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
