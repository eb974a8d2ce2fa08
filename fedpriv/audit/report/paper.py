"""A report on paper: the browser that is at hand prints the page to PDF."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from fedpriv.errors import InputError

BROWSERS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
_TIMEOUT_S = 120


def find_browser() -> str:
    """The path of a browser that can print; InputError if none is at hand."""
    for path in map(shutil.which, BROWSERS):
        if path is not None:
            return path
    raise InputError(
        f"no browser to print with: none of {', '.join(BROWSERS)} is on the PATH",
        hint="install one, or open the HTML file in any browser and print it",
    )


def print_to_pdf(page: str, out: Path) -> None:
    """Print the HTML ``page`` to the file ``out``, made or replaced as a whole; InputError if it cannot."""
    browser = find_browser()
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        folder = Path(scratch)
        (folder / "report.html").write_text(page, "utf-8")
        done = subprocess.run(
            [
                browser,
                *_options(folder),
                f"--print-to-pdf={folder / 'report.pdf'}",
                str(folder / "report.html"),
            ],
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        if done.returncode or not (folder / "report.pdf").exists():
            raise InputError(f"{browser} did not print the report; it ended with {done.returncode}")
        (folder / "report.pdf").replace(out)


def _options(folder: Path) -> list[str]:
    options = [
        "--headless",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--host-resolver-rules=MAP * ~NOTFOUND",  # browsers ask for updates of their own
        "--no-pdf-header-footer",
        f"--user-data-dir={folder / 'browser'}",
    ]
    if os.geteuid() == 0:  # its sandbox refuses to start for root; the page holds no script
        options.append("--no-sandbox")
    return options
