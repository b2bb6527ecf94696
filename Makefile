# make demo   set everything up and open napari on a simulated sample with the main job done
# make test   set everything up and pass the tests (on a virtual display of their own)
VENV ?= .venv
# Options for pytest, for example: make test PYTEST_ARGS="-k cli"
PYTEST_ARGS ?=

.PHONY: demo test setup lint reference screenshots

demo: setup
	$(VENV)/bin/atomlens demo

# One thread for each worker: the workers are as many as the cores.
test: setup
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 scripts/with_display.sh $(VENV)/bin/python -m pytest -n auto $(PYTEST_ARGS)

setup:
	@scripts/system_libs.sh
	@scripts/setup_venv.sh "$(VENV)"

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# docs/reference from the code
reference: setup
	$(VENV)/bin/python docs/make_tables.py

screenshots: setup
	scripts/with_display.sh $(VENV)/bin/python docs/make_screenshots.py
