# make demo and make test do everything on a fresh machine; the rest is for who changes the code.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PROTO := $(addprefix globaltable/v1/,globaltable.proto admin.proto routing.proto unit_control.proto)
RESULTS = bench-results/$(shell date -u +%Y-%m-%dT%H%M)
PEER_PROTO := globaltable/bench/systems/etcd.proto
EXAMPLE_PROTO := examples/im/im.proto

.PHONY: demo example test test-slow simulation soak faults endurance fuzz bench lint format proto clean
.DELETE_ON_ERROR:

demo: $(INSTALLED)  ## start three regions, race, kill one, check every binding
	$(BIN)/globaltable demo

example: $(INSTALLED)  ## instant messaging in three units: kill one, move chats, check every message
	$(BIN)/python -m examples.im

test: $(INSTALLED)  ## all tests but those marked long or slow
	$(BIN)/python -m pytest -q -m "not cluster and not long and not slow" -n 2
	$(BIN)/python -m pytest -q -m "cluster and not long and not slow"

test-long: $(INSTALLED)  ## the tests marked long, as CI does too
	$(BIN)/python -m pytest -q -m "long and not slow"

test-slow: $(INSTALLED)  ## the tests marked slow
	$(BIN)/python -m pytest -q -m slow

simulation: $(INSTALLED)  ## 2,000 seeded runs of whole clusters on simulated time, links and disks
	$(BIN)/python -m tests.simulation --seeds 2000 --jobs 2

soak: $(INSTALLED)  ## 100,000 of them, and one line; about an hour on 2 cores
	$(BIN)/python -m tests.simulation --seeds 100000 --jobs 2

faults: $(INSTALLED)  ## an hour of faults on real nodes, under clients whose histories are judged
	$(BIN)/python -m tests.faults --minutes 60

endurance: $(INSTALLED)  ## two hours of load and faults; memory, descriptors and disk must stay flat
	$(BIN)/python -m tests.endurance --minutes 120

fuzz: $(INSTALLED)  ## a million bad inputs to every decoder
	$(BIN)/python -m tests.fuzz --inputs 1000000 --jobs 2

bench: $(INSTALLED)  ## beside etcd and ZooKeeper, and all else; bench-results/
	$(BIN)/python -m globaltable.bench all --json $(RESULTS).json --html $(RESULTS).html

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

proto: $(INSTALLED)  ## generate the code of the public API anew, and of what is used of etcd's
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. --grpc_python_out=. $(PROTO) $(EXAMPLE_PROTO)
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. $(PEER_PROTO)

# Debian without python3-venv has no ensurepip; its package is then installed, if we may.
$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or later is needed; set PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| apt-get install -y -qq python3-venv >/dev/null \
		|| { echo "Python's venv module is missing; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --use-pep517 --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
