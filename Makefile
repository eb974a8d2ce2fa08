# Every target sets up .venv at the root first, once.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help setup wheels demo test check lint coverage bench bench-masking bench-scale bench-dp-sgd bench-fuzz bench-verify bench-attack bench-page bench-accuracy bench-overhead bench-faults bench-soak translations clean

help:
	@echo "make demo    a whole federation on this machine: coordinator, three hospitals, TLS, masks, noise"
	@echo "make test    the whole test suite"
	@echo "make check   ruff, mypy --strict, the import contract, coverage of the cores, and the tests"
	@echo "make bench   the benchmarks, each against a peer or a floor; results in measured/"
	@echo "make wheels  everything that an image needs, in wheels/, to build it without a network"
	@echo "make clean   remove .venv, wheels/, out/ and measured/"

setup: $(READY)

$(READY): constraints.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) not found; hint: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

wheels: $(READY)
	$(BIN)/python -m pip wheel --quiet --constraint constraints.txt --wheel-dir wheels . 'setuptools>=75'
	rm wheels/fedpriv-*.whl

demo: $(READY)
	$(BIN)/fedpriv demo

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadgroup

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

coverage: $(READY)
	$(BIN)/python -m pytest -q -n 2 --dist loadgroup tests/secagg tests/attacks tests/identity --cov=fedpriv.secagg \
		--cov=fedpriv.identity --cov-branch --cov-report=term-missing:skip-covered --cov-fail-under=100

check: lint coverage test

bench: bench-masking bench-scale bench-overhead bench-dp-sgd bench-fuzz bench-verify bench-attack bench-page bench-faults bench-soak

bench-masking: $(READY)
	$(BIN)/python benchmarks/masking.py --out measured/masking.json

bench-scale: $(READY)
	$(BIN)/python benchmarks/scale.py --out measured/scale.json

bench-overhead: $(READY)
	$(BIN)/python benchmarks/overhead.py --out measured/overhead.json

bench-dp-sgd: $(READY)
	$(BIN)/python benchmarks/dp_sgd.py --out measured/dp-sgd.json

bench-fuzz: $(READY)
	FEDPRIV_FUZZ_MESSAGES=2000000 $(BIN)/python -m pytest -q --timeout 3600 tests/attacks/test_fuzzed_messages.py

bench-verify: $(READY)
	PYTHONPATH=tests $(BIN)/python benchmarks/verify.py --out measured/verify.json

bench-attack: $(READY)
	$(BIN)/python benchmarks/attack.py --out measured/attack

bench-page: $(READY)
	PYTHONPATH=tests $(BIN)/python benchmarks/page.py --out measured/page.json

# Real smears in FEDPRIV_REAL_SMEARS, or drawn ones; about half an hour on two cores, and it goes on where it ended.
bench-accuracy: $(READY)
	$(BIN)/python benchmarks/accuracy.py --out measured/accuracy

# As root, for namespaces and small disks; the whole matrix takes about half an hour.
bench-faults: $(READY)
	PYTHONPATH=tests $(BIN)/python benchmarks/faults.py --out measured/faults.json

bench-soak: $(READY)
	PYTHONPATH=tests $(BIN)/python benchmarks/soak.py --out measured/soak.json

translations: $(READY)
	$(BIN)/python -c "import polib; po = polib.pofile('fedpriv/page/locale/ro/LC_MESSAGES/django.po'); po.save_as_mofile(po.fpath[:-2] + 'mo')"

clean:
	rm -rf $(VENV) wheels out measured
