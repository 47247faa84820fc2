# The same environment as bin/dynazmq's, with the development tools added; DYNAZMQ_VENV moves both.
PYTHON := "$(or $(DYNAZMQ_VENV),.venv)/bin/python"
# Extra arguments for the tool that a target runs: make test ARGS="-k ring -x"
ARGS ?=

# As in bin/dynazmq: a PYTHONPATH or PYTHONWARNINGS that is set for another program changes nothing here.
unexport $(filter-out PYTHON PYTHONDONTWRITEBYTECODE PYTHONPYCACHEPREFIX,$(filter PYTHON%,$(.VARIABLES)))

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile
	@echo 'Arguments for the tool behind a target: make test ARGS="-k ring -x"'

.PHONY: test
test: environment ## run the tests, the simulator's campaigns included
	$(PYTHON) -m pytest -m '' $(ARGS)

.PHONY: lint
lint: environment ## look for mistakes and style (ruff)
	$(PYTHON) -m ruff check $(ARGS)

.PHONY: types
types: environment ## check the types (mypy, strict)
	$(PYTHON) -m mypy $(ARGS)

.PHONY: check
check: test lint types ## all of the above

.PHONY: bench
bench: ## measure a cluster on this machine
	bin/dynazmq bench $(ARGS)

.PHONY: commands
commands: environment ## write docs/commands.md anew
	$(PYTHON) -m tools.commands_page

.PHONY: protocol
protocol: environment ## write the tables of messages in docs/protocol.md anew
	$(PYTHON) -m tools.protocol_page

.PHONY: screenshots
screenshots: environment ## take the pictures in docs/screens/ anew, of a cluster that is made and broken for them
	$(PYTHON) -m tools.screenshots $(ARGS)

.PHONY: environment
environment: ## make the virtual environment, or bring it up to date
	@bin/environment --dev

.PHONY: lock
lock: ## resolve the dependencies of pyproject.toml again and pin them
	bin/lock

# Removes .venv only where bin/environment made it.
.PHONY: clean
clean: ## remove everything that can be made again
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist ./*.egg-info
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +
	if [ -d .venv/.dynazmq ]; then rm -rf .venv .venv.lock .venv.lock.pid; fi
