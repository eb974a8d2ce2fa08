"""``python -m fedpriv`` is the command ``fedpriv``."""

from fedpriv.cli.main import run

if __name__ == "__main__":
    run()
